"""The text of a reply as it comes out, and how many tokens a text is taken for."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.engines.remote.keys import Key
from pipelines.engines.remote.text import Outlet, estimated_tokens


@given(st.lists(st.text("abEND"), max_size=8), st.sampled_from([(), ("END",), ("bE", "ND")]))
def test_an_outlet_hands_out_the_text_before_the_first_stop_string(pieces: list[str], stop: tuple[str, ...]) -> None:
    outlet = Outlet(stop, Key("K", "aaaaaaaa"))
    shown = "".join(outlet.push(piece) for piece in pieces) + outlet.finish()
    whole = "".join(pieces)
    if "aaaaaaaa" not in whole:
        ends = [whole.find(each) for each in stop if each in whole]
        assert shown == outlet.text == whole[: min(ends, default=len(whole))]
    assert "aaaaaaaa" not in shown


@given(st.text(max_size=60), st.text(max_size=60))
def test_estimates_grow_with_the_text(one: str, other: str) -> None:
    assert estimated_tokens("") == 0
    assert estimated_tokens(one + other) >= max(estimated_tokens(one), estimated_tokens(other))


@pytest.mark.model
def test_estimates_are_not_below_what_a_tokenizer_of_english_counts(engine: Any) -> None:
    texts = [
        "The town library closes for three weeks in July. Workers replace the windows and repair the roof.",
        "def median(values):\n    ordered = sorted(values)\n    return ordered[len(ordered) // 2]\n" * 3,
        "Order 20481 of 2026-11-24: 3 x 19.99 EUR, VAT 19 %, total 59.97 EUR. Phone +49 30 1234567.",
    ]
    for text in texts:
        exact = engine.count_tokens(text)
        assert exact <= estimated_tokens(text) <= 2.5 * exact
