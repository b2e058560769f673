"""The page Compare: one request, answered in turn by two settings of the model in memory; votes, blind if wanted."""

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

from apps.web.answer import Moment, Page, answer
from apps.web.common import QUIET, Controls, button_states, buttons, outcome, required, toasts, wire, wire_stop
from apps.web.strings import Strings
from apps.web.translate import languages
from eval.statistics import wilson

__all__ = ["FIELDS", "Side", "build", "request_fields", "tally_line", "voted", "word_diff"]

FIELDS = {
    "translation": "text", "summarization": "text", "dialogue": "messages", "code_generation": "instruction",
    "creative_writing": "brief",
}  # fmt: skip
"""The field of each task that holds what a person writes."""
_WORDS = re.compile(r"\s+|[\u3040-\u30ff\u3400-\u9fff]|\w+|[^\w\s]")
_TOKENS = 256
"""Longest answer of a side: the time to compare two grows with the square of their length."""


@dataclass(frozen=True)
class Side:
    """One of two settings.

    Attributes:
        adapter: ``base`` for the model without an adapter, "" for the one that it was loaded with.
        temperature: Of its answers.
    """

    adapter: str
    temperature: float


def request_fields(task: str, text: str, target: str, side: Side, seed: int) -> dict[str, Any]:
    """What a side is asked.

    Args:
        task: Name of the task.
        text: What a person wrote.
        target: Language of a translation.
        side: Its settings.
        seed: The same for both.
    """
    asked: Any = [{"role": "user", "content": text}] if task == "dialogue" else text
    fields = {FIELDS[task]: asked, **({"target": target} if task == "translation" else {})}
    adapter = {"adapter": side.adapter} if side.adapter else {}
    return {**fields, **adapter, "temperature": side.temperature, "seed": seed, "max_new_tokens": _TOKENS}


def word_diff(first: str, second: str) -> list[tuple[str, str | None]]:
    """Both texts in one: pieces with ``-`` stand in the first only, with ``+`` in the second only, others in both.

    Words are compared, and single characters of Chinese and Japanese.
    """
    ours, theirs = (_WORDS.findall(text) for text in (first, second))
    pieces: list[tuple[str, str | None]] = []
    for kind, begin, end, start, stop in SequenceMatcher(None, ours, theirs, autojunk=False).get_opcodes():
        if kind == "equal":
            pieces.append(("".join(ours[begin:end]), None))
            continue
        pieces += [
            (text, sign) for text, sign in (("".join(ours[begin:end]), "-"), ("".join(theirs[start:stop]), "+")) if text
        ]
    return pieces


def voted(votes: Sequence[int], order: Sequence[int], choice: int | None) -> list[int]:
    """The votes with one more: for the first setting, for the second, for neither.

    Args:
        votes: Those before.
        order: Which setting was shown on the left, and which on the right.
        choice: 0 for the left one, 1 for the right one, None for neither.
    """
    after = [*votes]
    after[2 if choice is None else order[choice]] += 1
    return after


def tally_line(votes: Sequence[int], t: Strings) -> str:
    """How the votes stand, and what they are worth."""
    first, second, equal = votes
    if not first + second:
        return t("compare.tally_none", equal=equal)
    interval = wilson(first, first + second)
    code = "compare.tally_tell" if interval.low > 0.5 or interval.high < 0.5 else "compare.tally_open"
    return t(
        "compare.tally", first=first, second=second, equal=equal, low=f"{interval.low:.0%}", high=f"{interval.high:.0%}"
    ) + t(code)


def build(page: Page) -> None:
    """Lay the page out and connect it."""
    import gradio as gr

    t = page.t
    gr.Markdown(t("compare.about"), elem_id="compare-about", elem_classes="limits")
    with gr.Row():
        task = gr.Dropdown(
            [(t(f"compare.task.{name}"), name) for name in FIELDS], value="dialogue", label=t("compare.task"),
            min_width=160, elem_id="compare-task",
        )  # fmt: skip
        target = gr.Dropdown(
            languages(page), value="en" if t.language == "zh" else "fr", label=t("translate.target"), visible=False,
            min_width=160, elem_id="compare-target",
        )  # fmt: skip
    text = gr.Textbox(label=t("compare.text"), lines=3, max_lines=12, elem_id="compare-text")
    chosen = []
    with gr.Row():
        for side, temperature in (("a", 0.0), ("b", 0.8)):
            with gr.Column():
                chosen += [
                    gr.Dropdown(
                        [(t("compare.own"), ""), (t("compare.base"), "base")], value="", label=t(f"compare.{side}"),
                        elem_id=f"compare-{side}",
                    ),
                    gr.Slider(
                        0, 2, value=temperature, step=0.05, label=t("settings.temperature"),
                        elem_id=f"compare-{side}-temperature",
                    ),
                ]  # fmt: skip
    blind = gr.Checkbox(False, label=t("compare.blind"), info=t("compare.blind_info"), elem_id="compare-blind")
    run, stop = buttons(page, "compare")
    results = []
    with gr.Row():
        for side in ("left", "right"):
            results.append(
                gr.Textbox(
                    label=t(f"compare.{side}"), lines=8, max_lines=30, interactive=False, buttons=["copy"],
                    elem_id=f"compare-{side}",
                )
            )  # fmt: skip
    status, notes = outcome("compare")
    diff = gr.HighlightedText(
        label=t("compare.diff"), combine_adjacent=False, show_legend=False, color_map={"-": "red", "+": "green"},
        visible=False, elem_id="compare-diff",
    )  # fmt: skip
    state = gr.State({"order": [0, 1], "votes": [0, 0, 0]})
    with gr.Row():
        votes = [
            gr.Button(t(f"compare.vote_{name}"), size="sm", interactive=False, elem_id=f"compare-vote-{name}")
            for name in ("left", "right", "equal")
        ]
    tally = gr.HTML("", label="run", elem_id="compare-tally", elem_classes="status", padding=False)
    parts = Controls(run, stop, status, notes)

    def ask(
        request: gr.Request, text: str, task: str, target: str, first: str, first_temperature: float, second: str,
        second_temperature: float, blind: bool, state: Mapping[str, Any],
    ) -> Iterator[list[Any]]:  # fmt: skip
        sides = (Side(first, first_temperature), Side(second, second_temperature))
        order = random.sample([0, 1], 2) if blind else [0, 1]
        seed, visitor = random.randrange(10**9), request.session_hash or ""
        shown, lines = ["", ""], ["", ""]
        busy, idle = button_states(parts, busy=True), button_states(parts, busy=False)
        hidden, quiet = gr.HighlightedText(visible=False), [gr.Button(interactive=False)] * 3
        moment = Moment("", "")
        for place, number in enumerate(order):
            with toasts(page):
                for moment in answer(page, task, request_fields(task, text, target, sides[number], seed), visitor):
                    shown[place] = moment.text
                    yield [*shown, hidden, state, *quiet, "", f"{place + 1}/2 · {moment.status}", "", *busy]
            lines[place] = moment.status
            if moment.generation is None or moment.generation.finish_reason == "cancelled":
                yield [*shown, hidden, state, *quiet, "", moment.status, "", *idle]
                return
        compared = gr.HighlightedText(value=word_diff(*shown), visible=True)
        after = {**state, "order": order}
        said = "" if blind else " | ".join(lines)
        votable = [gr.Button(interactive=True)] * 3
        yield [*shown, compared, after, *votable, tally_line(state["votes"], t), said, "", *idle]

    def vote(state: Mapping[str, Any], choice: int | None) -> tuple[Any, ...]:
        after = {**state, "votes": voted(state["votes"], state["order"], choice)}
        left = t("compare.b" if state["order"][0] else "compare.a")
        line = f"{t('compare.was', side=left)} {tally_line(after['votes'], t)}"
        return (after, line, *[gr.Button(interactive=False)] * 3)

    inputs = [text, task, target, *chosen, blind, state]
    wire(
        page, ask, triggers=[run.click], inputs=inputs, outputs=[*results, diff, state, *votes, tally], parts=parts,
        validator=required(page, len(inputs)),
    )  # fmt: skip
    for button, choice in zip(votes, (0, 1, None), strict=True):
        button.click(lambda state, choice=choice: vote(state, choice), state, [state, tally, *votes], **QUIET)
    task.change(lambda name: gr.Dropdown(visible=name == "translation"), task, target, **QUIET)
    wire_stop(page, stop, *FIELDS)
