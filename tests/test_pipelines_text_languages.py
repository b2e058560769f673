import pytest

from pipelines.errors import InputError
from pipelines.text.languages import (
    LANGUAGES,
    close_languages,
    closest,
    detect,
    language_name,
    parse_language,
    same_language,
    without_spaces,
)


@pytest.mark.parametrize(
    ("name", "tag"),
    [
        ("French", "fr"),
        ("fr", "fr"),
        ("français", "fr"),
        ("法语", "fr"),
        (" german ", "de"),
        ("Chinese", "zh"),
        ("中文", "zh"),
        ("简体中文", "zh-Hans"),
        ("zh-Hans", "zh-Hans"),
        ("zh_CN", "zh-CN"),
        ("pt-BR", "pt-BR"),
        ("Brazilian Portuguese", "pt-BR"),
        ("日本語", "ja"),
        ("no", "no"),
        ("eng", "en"),
        ("eng_Latn", "en"),
    ],
)
def test_a_language_is_understood_by_tag_and_by_name(name: str, tag: str) -> None:
    assert parse_language(name) == tag


@pytest.mark.parametrize(
    ("name", "nearest"), [("Frenhc", "French"), ("jp", "ja"), ("Englsh", "English"), ("xx", "fr"), ("", "English")]
)
def test_an_unknown_language_names_near_ones(name: str, nearest: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_language(name)
    assert caught.value.code == "language_unknown"
    assert nearest in caught.value.parameters["nearest"].split(", ")
    assert repr(name) in str(caught.value)


def test_names_are_shown_in_the_readers_language() -> None:
    assert language_name("fr") == "French"
    assert language_name("fr", "zh") == "法语"
    assert language_name("pt-BR") == "Portuguese (Brazil)"


def test_every_choice_has_distinct_names_and_parses_to_itself() -> None:
    for ui in ("en", "zh"):
        assert len({language_name(tag, ui) for tag in LANGUAGES}) == len(LANGUAGES)
    assert [parse_language(tag) for tag in LANGUAGES] == list(LANGUAGES)


@pytest.mark.parametrize(
    ("text", "tag"),
    [
        ("The quick brown fox jumps over the lazy dog.", "en"),
        ("Die Katze sitzt auf dem Tisch und schläft.", "de"),
        ("Bonjour tout le monde, comment allez-vous ?", "fr"),
        ("你好，世界", "zh"),
        ("今天天气很好，我们去公园散步吧。", "zh"),
        ("Сегодня хорошая погода, и мы идём в парк.", "ru"),
        ("今日は天気がいいので公園に行きます。", "ja"),
    ],
)
def test_a_sentence_is_recognised(text: str, tag: str) -> None:
    found = detect(text)
    assert found is not None
    assert found[0] == tag
    assert 0.7 <= found[1] <= 1.0


@pytest.mark.parametrize("text", ["", "ok", "Hello", "12,000", "https://", "   "])
def test_a_text_that_is_too_short_stays_open(text: str) -> None:
    assert detect(text) is None


def test_candidates_narrow_the_choice() -> None:
    assert detect("Guten Tag", ["de", "zh-Hans"]) is not None
    found = detect("Die Katze sitzt auf dem Tisch.", ["fr", "de-AT"])
    assert found is not None
    assert found[0] == "de"
    assert detect("Die Katze", ["xx"]) is None


def test_tags_are_compared_by_their_base() -> None:
    assert same_language("pt", "pt-BR")
    assert same_language("zh-Hant", "yue")
    assert not same_language("de", "nl")
    assert close_languages("da", "no")
    assert not close_languages("da", "de")
    assert closest("zh-CN", ("fr", "zh")) == "zh"
    assert closest("zh-Hant", ("fr", "zh")) == ""
    assert closest("fr-CA", ("fr", "zh")) == "fr"
    assert closest("ja", ()) == ""
    assert without_spaces("zh-Hant")
    assert not without_spaces("ko")


@pytest.mark.parametrize("tag", ["und", "mul", "zxx", "mis", "x-mine", "und-Latn"])
def test_a_valid_tag_that_names_no_language_is_unknown(tag: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_language(tag)
    assert caught.value.code == "language_unknown"
