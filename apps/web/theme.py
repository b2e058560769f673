"""How the app looks: colours with enough contrast in light and dark, fonts that know Chinese and need no network."""

import html
from typing import Any

from apps.web.strings import Strings

__all__ = ["CSS", "header_html", "model_html", "theme"]

_FONT = ["system-ui", "Segoe UI", "Roboto", "Noto Sans CJK SC", "PingFang SC", "Microsoft YaHei", "sans-serif"]

CSS = """
.gradio-container { max-width: 1180px !important; margin: 0 auto !important; }
.gradio-container main.fillable, .gradio-container main { padding-top: 18px !important; }
#header, #model, .status, .notes-box, .html-container { padding: 0 !important; }
.brand { display: flex; align-items: center; gap: 14px; }
.brand svg { width: 44px; height: 44px; flex: none; }
.brand rect { fill: var(--primary-600); }
.dark .brand rect { fill: var(--primary-400); }
.brand h1 { font: 600 1.7rem/1.15 "Iowan Old Style", Palatino, Georgia, "Noto Serif CJK SC", serif; margin: 0 0 2px; }
.brand nav { margin-left: auto; display: flex; gap: 12px; font-size: .93rem; white-space: nowrap; }
.brand nav a { color: var(--primary-600); text-underline-offset: 3px; }
.dark .brand nav a { color: var(--primary-400); }
.brand nav a[aria-current] { color: var(--body-text-color-subdued); text-decoration: none; pointer-events: none; }
.brand p, .model, .limits p, .status { color: var(--body-text-color-subdued) !important; line-height: 1.5;
  margin: 0 !important; }
.brand p, .model { font-size: .93rem !important; }
.limits p, .status { font-size: .88rem !important; }
.status { min-height: 1.6em; font-variant-numeric: tabular-nums; }
.model strong { color: var(--body-text-color); font-weight: 600; }
.model .dot { display: inline-block; width: .55em; height: .55em; border-radius: 50%; margin-right: .5em;
  background: var(--neutral-400); }
.model.ready .dot { background: #16a34a; }
.model.failed .dot { background: #dc2626; }
ul.notes { margin: 0; padding: 10px 14px 10px 30px !important; border-left: 3px solid var(--primary-500);
  border-radius: 4px; background: var(--background-fill-secondary); font-size: .9rem; line-height: 1.5;
  list-style: disc; overflow-wrap: anywhere; }
.send { align-self: center; }
#pages .tab-wrapper, #pages [role=tablist] { height: auto; }
#pages [role=tablist] { flex-wrap: wrap; }
#pages .tab-container.visually-hidden { max-width: 100%; overflow: hidden; }
@media (max-width: 640px) { .brand { flex-wrap: wrap; } .brand svg { width: 34px; height: 34px; }
  .brand h1 { font-size: 1.4rem; } .brand > div { flex: 1; } .brand nav { width: 100%; justify-content: flex-end; } }
"""

# Five lines of 2, 4, 6, 8 and 2 syllables: the shape of a cinquain.
_MARK = (
    '<svg viewBox="0 0 48 48" fill="currentColor" aria-hidden="true">'
    + "".join(
        f'<rect x="{24 - 2.6 * syllables}" y="{3 + 9 * line}" width="{5.2 * syllables}" height="5" rx="2.5"/>'
        for line, syllables in enumerate((2, 4, 6, 8, 2))
    )
    + "</svg>"
)


def theme() -> Any:
    """The Gradio theme with darker greys: its own subdued text has a contrast of 1.9:1, and WCAG AA asks for 4.5:1."""
    import gradio as gr

    return gr.themes.Default(
        primary_hue="indigo",
        neutral_hue="slate",
        font=_FONT,
        font_mono=["ui-monospace", "Menlo", "Consolas", "monospace"],
    ).set(
        body_background_fill="*neutral_50",
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_400",
        block_label_text_color="*neutral_700",
        block_title_text_color="*neutral_700",
        block_info_text_color="*neutral_600",
        input_placeholder_color="*neutral_500",
        input_placeholder_color_dark="*neutral_400",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        button_primary_background_fill_dark="*primary_600",
        button_primary_text_color="white",
    )


def header_html(t: Strings, *, switch: bool = False) -> str:
    """The name of the app, what it does, and the way to its other language.

    Args:
        t: Words.
        switch: Whether there is another language.
    """
    title = f"<div><h1>Cinquain</h1><p>{html.escape(t('app.tagline'))}</p></div>"
    links = "".join(
        f'<a href="/language/{name}" lang="{name}" hreflang="{name}"{_current(name == t.language)}>{shown}</a>'
        for name, shown in (("en", "English"), ("zh", "中文"))
    )
    other = f"<nav aria-label='{html.escape(t('app.language'))}'>{links}</nav>" if switch else ""
    return f'<div class="brand">{_MARK}{title}{other}</div>'


def _current(chosen: bool) -> str:
    return ' aria-current="true"' if chosen else ""


def model_html(reference: str, adapter: str | None, state: str, t: Strings, problem: str = "") -> str:
    """One line about the model: its name, what it is good and weak at, and whether it is ready.

    Args:
        reference: Model reference.
        adapter: Folder of the adapter, where there is one.
        state: ``loading``, ``ready`` or ``failed``.
        t: Words.
        problem: The sentence to show when it failed.
    """
    name = html.escape(reference if adapter is None else f"{reference} + {adapter}")
    known = f"model.{reference}"
    about = problem or t(known if t.has(known) else "model.other")
    return (
        f'<p class="model {state}" role="status"><span class="dot"></span><strong>{name}</strong> · '
        f"{html.escape(t(f'model.{state}'))} · {html.escape(about)}</p>"
    )
