import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.text.facts import unsupported

SOURCE = (
    "Tim Cook, who leads Apple in Cupertino, said on 3 May 2021 that 1,000 people of NASA's office use 2.5 GB each."
)


@pytest.mark.parametrize(
    "summary",
    [
        "Tim Cook said that 1000 people use 2.5 GB.",
        "On 3/5/2021? No: in May 2021 TIM COOK spoke.",
        "People at NASA said so. Everybody listened. Apple’s staff too.",
        "",
    ],
)
def test_what_the_source_holds_is_supported(summary: str) -> None:
    found = [*unsupported(summary, SOURCE).numbers]
    assert found in ([], ["3/5/2021"])
    assert unsupported(summary, SOURCE).names == []


def test_numbers_and_names_that_were_brought_in_are_listed_once_in_order() -> None:
    found = unsupported("The engineer Ada Lovelace and IBM paid 7 and 1,001 dollars. Lovelace paid 7.", SOURCE)
    assert found.numbers == ["7", "1,001"]
    assert found.names == ["Ada", "Lovelace", "IBM"]
    assert found


def test_a_capital_at_the_start_of_a_sentence_a_line_or_a_quotation_says_nothing() -> None:
    text = "People came. Nobody spoke! “Everything is fine.”\n- Bridges fell\nRoads: Closed"
    assert not unsupported(text, "x").names


def test_chinese_text_is_checked_for_numbers_and_latin_words() -> None:
    found = unsupported("苹果公司的 Tim 在2011年加入了IBM。", "苹果公司 tim 于 2012 年")
    assert found.numbers == ["2011"]
    assert found.names == ["IBM"]


def test_german_nouns_are_not_names() -> None:
    assert unsupported("Heute kam die Regierung mit der NATO.", "x", "de").names == ["NATO"]
    assert unsupported("Heute kam die Regierung.", "x").names == ["Regierung"]


def test_accents_in_either_encoding_are_the_same_name() -> None:
    assert not unsupported("He met Andre\u0301.", "Andr\u00e9 was there").names


def test_short_names_are_words_of_their_own() -> None:
    assert unsupported("They met Al there.", "Although nobody came").names == ["Al"]
    assert not unsupported("They met Al there.", "Al's dog and TV的").names
    assert not unsupported("他在TV上看到了 Al 的消息，很高兴。", "TV的 al").names


@given(st.text(max_size=200), st.text(max_size=50))
def test_a_part_of_the_source_is_always_supported(text: str, more: str) -> None:
    assert not unsupported(text, f"{text} {more}").numbers
    assert not unsupported(text, f"{text}\n{more}").names
