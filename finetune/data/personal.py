"""Personal data in rows: found by form and check digits, replaced by words that say what stood there.

The same address twice in a row becomes the same ``<EMAIL_1>``, in the request as in the reply: a translation that keeps
an address, an answer that repeats a number still learn to do so.
"""

import re
from collections.abc import Callable
from itertools import count

from finetune.data.config import DataConfig
from finetune.data.row import Outcome, Redaction, Row, Step, change, drop, keep
from pipelines.text.personal import Span, apart, find

__all__ = ["personal_data"]

_SEPARATORS = re.compile(r"[\s().\u00a0/-]")


def personal_data(config: DataConfig) -> Step:
    """The step "personal_data".

    What it finds: see ``pipelines.text.personal``. With ``names`` also given names that a greeting or "my name is"
    introduces, in English only.

    Returns:
        A step that changes (kinds ``email``, ``phone``, …) or, with ``personal_data: drop``, drops rows
        (``personal_data``).
    """

    def step(row: Row) -> Outcome:
        numbers: dict[tuple[str, str], str] = {}
        texts = list(row.texts(config.task))  # some come from sets that were redacted before
        languages = _languages(row)
        spans = {text: find(text, languages, names=config.names) for text in texts}
        again = _again({(text[start:end], kind) for text, found in spans.items() for start, end, kind in found})

        def rewrite(text: str) -> str:
            parts, last = [], 0
            for start, end, kind in apart([*spans.get(text, ()), *again(text)]):
                found = text[start:end]
                known = kind, (found if kind in ("email", "name") else _SEPARATORS.sub("", found)).casefold()
                if known not in numbers:
                    numbers[known] = _placeholder(kind, [*texts, *numbers.values()])
                    redactions.append(Redaction(kind, found, numbers[known]))
                parts += [text[last:start], numbers[known]]
                last = end
            return "".join([*parts, text[last:]]) if parts else text

        redactions: list[Redaction] = []
        changed = row.with_texts(config.task, rewrite)
        if not redactions:
            return keep(row)
        kinds = sorted({redaction.kind for redaction in redactions})
        if config.personal_data == "drop":
            return drop("personal_data", kinds=kinds)
        return change(changed, *kinds, redactions=tuple(redactions))

    return step


def _again(found: set[tuple[str, str]]) -> Callable[[str], list[Span]]:
    """Finds what was found in one text in the others of its row.

    "Call me: 13800138000" says that it is a number to call, and its translation may not: half of a pair would keep it.
    """
    forms = {}
    for text, kind in found:
        signs = text if kind in ("email", "name") else _SEPARATORS.sub("", text)
        between = "" if kind in ("email", "name") else r"[\s().\u00a0/-]{0,2}"
        forms[re.compile(rf"(?<![A-Za-z0-9@]){between.join(map(re.escape, signs))}(?![A-Za-z0-9@])", re.IGNORECASE)] = (
            kind
        )

    def again(text: str) -> list[Span]:
        return [(*match.span(), kind) for form, kind in forms.items() for match in form.finditer(text)]

    return again


def _placeholder(kind: str, texts: list[str]) -> str:
    """The first one of its kind that stands in none of these texts."""
    every = (f"<{kind.upper()}_{number}>" for number in count(1))
    return next(name for name in every if not any(name in text for text in texts))


def _languages(row: Row) -> tuple[str, ...]:
    request = row.request
    named = (request.get(name) for name in ("source", "target", "language"))
    return tuple({tag: None for tag in named if tag and tag != "auto"}) or ("en", "zh")
