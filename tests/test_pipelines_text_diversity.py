"""Diversity of several texts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.text.diversity import distinct_n, farthest_first, jaccard, mean_similarity, units

TEXTS = st.lists(st.text(st.sampled_from("ab 雨, ")), min_size=1, max_size=6)


def test_units_are_words_or_chinese_characters():
    assert units("The Sea's calm, twice!") == ["the", "sea's", "calm", "twice"]
    assert units("海 GPU静", "zh-Hans") == ["海", "gpu", "静"]


def test_distinct_n_is_the_share_of_different_pairs():
    assert distinct_n(["a b c", "a b d"]) == pytest.approx(3 / 4)
    assert distinct_n(["a a a a"]) == pytest.approx(1 / 3)
    assert distinct_n(["", "one"]) == 0.0
    assert distinct_n(["雨落", "雨落"], language="zh") == 0.5


def test_jaccard_of_word_pairs():
    assert jaccard("a b c", "a b d") == pytest.approx(1 / 3)
    assert jaccard("same", "same") == 1.0
    assert jaccard("one", "two") == 0.0


def test_mean_similarity_over_pairs():
    assert mean_similarity(["a b", "a b", "c d"]) == pytest.approx(1 / 3)
    assert mean_similarity(["alone here"]) == 0.0


def test_the_least_similar_comes_next():
    texts = ["the sea is calm", "the sea is calm today", "rain on tin roofs"]
    assert farthest_first(texts, [0, 0, 0]) == [0, 2, 1]


def test_fewer_failures_come_first():
    texts = ["the sea is calm", "the sea is calm today", "rain on tin roofs"]
    assert farthest_first(texts, [2, 0, 1]) == [1, 2, 0]


@given(TEXTS, st.data())
def test_the_order_holds_each_text_once_by_failures(texts, data):
    failures = data.draw(st.lists(st.integers(0, 3), min_size=len(texts), max_size=len(texts)))
    order = farthest_first(texts, failures)
    assert sorted(order) == list(range(len(texts)))
    assert [failures[index] for index in order] == sorted(failures)


@given(TEXTS, st.sampled_from(["en", "zh"]))
def test_all_numbers_are_shares(texts, language):
    assert 0 <= distinct_n(texts, 2, language) <= 1
    assert 0 <= mean_similarity(texts, language) <= 1
    assert jaccard(texts[0], texts[-1], language) == jaccard(texts[-1], texts[0], language)
    assert jaccard(texts[0], texts[0], language) == 1
