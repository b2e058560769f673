"""Forms of texts: haiku, poem, script, e-mail…"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.text.verse import check_form, syllables

HAIKU = "An old silent pond\nA frog jumps into the pond\nSplash! Silence again."


def failed(*arguments, **keywords):
    return [fact.check for fact in check_form(*arguments, **keywords) if not fact.ok]


def test_a_haiku_of_5_7_5():
    facts = check_form(HAIKU, "haiku")
    assert [(fact.check, fact.expected, fact.found) for fact in facts] == [
        ("lines", "3", "3"),
        ("syllables_line_1", "5", "5"),
        ("syllables_line_2", "7", "7"),
        ("syllables_line_3", "5", "5"),
    ]
    assert all(fact.ok for fact in facts)


def test_a_haiku_with_a_short_line_and_one_with_four_lines():
    assert failed("A pond\nA frog jumps into the pond\nSplash! Silence again.", "haiku") == ["syllables_line_1"]
    assert failed(HAIKU + "\nAnd more", "haiku") == ["lines"]


def test_blank_lines_do_not_count():
    assert failed(HAIKU.replace("\n", "\n\n"), "haiku") == []


def test_a_chinese_haiku_counts_characters():
    assert failed("古池静无声\n一只青蛙跳入水\n水声又归寂", "haiku", "zh-Hans") == []
    assert failed("古池静\n一只青蛙跳入水\n水声又归寂", "haiku", "zh") == ["syllables_line_1"]


def test_other_languages_and_digits_are_not_guessed():
    assert [fact.check for fact in check_form("ein alter teich\nein frosch\nplatsch", "haiku", "de")] == ["lines"]
    assert syllables("42 frogs", "en") is None


@pytest.mark.parametrize(
    ("word", "count"),
    [
        ("hummed", 1), ("breathes", 1), ("wanted", 2), ("churches", 2), ("candles", 2), ("whales", 1), ("lantern's", 2),
        ("don’t", 1), ("re-entry", 3), ("firefly", 3), ("hmm", 1),
    ],
)  # fmt: skip
def test_english_words_in_and_outside_the_list(word, count):
    assert syllables(word, "en") == count


def test_poem_and_song_need_lines():
    assert failed("Roses are red\nViolets are blue", "poem") == ["lines"]
    assert failed("\n".join(["A line"] * 4), "poem") == []
    assert failed("\n".join(["A line"] * 4), "song") == ["lines"]


def test_a_story_needs_words_and_the_length_says_how_many():
    text = "word " * 90
    assert failed(text, "story") == []
    assert failed(text, "story", length="long") == ["words"]
    assert failed("从前有一座山" * 20, "story", "zh") == []


def test_a_script_needs_two_speakers():
    assert failed("ANNA: Hello.\nBEN (smiling): Hi.", "script") == []
    assert failed("**Anna:** Hello.\n**Ben:** Hi.", "script") == []
    assert failed("ANNA\nHello.\n\nBEN (O.S.)\nHi.", "script") == []
    assert failed("小明：你好。\n小红（笑）：你好。", "script", "zh") == []
    assert failed("ANNA: Hello.\nANNA: Anyone?", "script") == ["speakers"]


def test_an_email_needs_a_subject_and_a_greeting():
    assert failed("Subject: Tomorrow\n\nDear Ann,\n\nsee you.\n\nBen", "email") == []
    assert failed("**Subject:** Tomorrow\n\nHi Ann\n\nsee you.", "email") == []
    assert failed("主题：明天\n\n尊敬的王老师：\n\n明天见。", "email", "zh") == []
    assert failed("We will meet tomorrow at noon in the usual place, as agreed.", "email") == ["subject", "greeting"]


def test_a_letter_needs_a_greeting():
    assert failed("Estimado señor\n\nLe escribo…", "letter", "es") == []
    assert failed("I write to you today because the roof leaks and nobody answers the telephone.", "letter") == [
        "greeting"
    ]


def test_free_text_has_no_form():
    assert check_form("Anything.", "free") == []


@given(
    st.text(max_size=200),
    st.sampled_from(["free", "poem", "haiku", "story", "script", "song", "letter", "email"]),
    st.sampled_from(["en", "zh", "de"]),
)
def test_any_text_gets_facts_that_agree_with_themselves(text, form, language):
    for fact in check_form(text, form, language):
        assert fact.check
        assert fact.expected
        assert fact.found
        if fact.expected.isdigit():
            assert fact.ok == (fact.expected == fact.found)
