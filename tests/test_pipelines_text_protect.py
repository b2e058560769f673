import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.text.protect import has_words, missing, protected


@pytest.mark.parametrize(
    ("text", "kind", "found"),
    [
        ("See https://example.org/a?b=1&c=2.", "url", "https://example.org/a?b=1&c=2"),
        ("见 https://example.org/a，谢谢", "url", "https://example.org/a"),
        ("(https://en.wikipedia.org/wiki/Go_(game))", "url", "https://en.wikipedia.org/wiki/Go_(game)"),
        ("www.example.org is", "url", "www.example.org"),
        ("Write to me.too@mail.example.org!", "email", "me.too@mail.example.org"),
        ("Hello {name}", "placeholder", "{name}"),
        ("Hello {0:>5}", "placeholder", "{0:>5}"),
        ("Hello {{user.name}}", "placeholder", "{{user.name}}"),
        ("Hello ${user}", "placeholder", "${user}"),
        ("Hello %s", "placeholder", "%s"),
        ("Hello %(count)d", "placeholder", "%(count)d"),
        ("Hello %1$s", "placeholder", "%1$s"),
        ("a <b>bold", "tag", "<b>"),
        ("bold</a> b", "tag", "</a>"),
        ("x<br/>y", "tag", "<br/>"),
        ('<a href="x.html">y', "tag", '<a href="x.html">'),
        ("run `make test` now", "code", "`make test`"),
        ("第3章", "number", "3"),
        ("costs 1,234.5 euros", "number", "1,234.5"),
    ],
)
def test_what_must_survive_is_found(text: str, kind: str, found: str) -> None:
    (item,) = protected(text)
    assert (item.kind, item.text) == (kind, found)
    assert text[item.span[0] : item.span[1]] == found


@pytest.mark.parametrize("text", ["50 % of it", "a < b and b > c", "100% sure", "an empty { brace", "a ` b"])
def test_prose_is_not_taken_for_markup(text: str) -> None:
    assert {item.kind for item in protected(text)} <= {"number"}


@pytest.mark.parametrize(
    ("source", "output"),
    [
        ("1,234.5 kg", "1.234,5 kg"),
        ("1,234.5 kg", "1 234,5 kg"),
        ("1,234.5 kg", "1\u202f234,5 kg"),
        ("1 234 567 people", "1,234,567 people"),
        ("In 2024 100 people", "2024年有100人"),
        ("on 03/12/2024", "am 3.12.2024"),
        ("on 2024-12-03", "2024年12月3日"),
        ("at 10:30", "10点30分"),
        ("page ３", "page 3"),
        ("<br /> x", "x <br/>"),
        ("{a} and {b}", "{b} et {a}"),
    ],
)
def test_numbers_may_change_their_dress_and_things_their_order(source: str, output: str) -> None:
    assert missing(source, output) == []


@pytest.mark.parametrize(
    ("source", "output", "lost"),
    [
        ("Hello {name}, 3 new", "Bonjour {nom}, trois", ["{name}", "3"]),
        ("<b>a</b> <b>c</b>", "<b>a</b> c", ["<b>", "</b>"]),
        ("1,234", "1,243", ["1,234"]),
        ("http://a.org and http://a.org", "http://a.org", ["http://a.org"]),
        ("5 of 15", "15", ["5"]),
        ("`x` is", "x is", ["`x`"]),
    ],
)
def test_what_is_lost_is_listed_as_often_as_it_is_lost(source: str, output: str, lost: list[str]) -> None:
    assert missing(source, output) == lost


THINGS = st.sampled_from(
    [
        "https://a.org/x",
        "me@a.org",
        "{name}",
        "{{x}}",
        "${y}",
        "%s",
        "%(n)d",
        "<b>",
        "</b>",
        "`c d`",
        "7",
        "1,000",
        "12.5",
    ]
)
WORDS = st.lists(THINGS | st.sampled_from(["word", "and", "你好"]), max_size=12)


@given(WORDS, st.randoms(use_true_random=False))
def test_any_order_keeps_everything_and_each_loss_is_seen(words: list[str], random: object) -> None:
    text = " | ".join(words)
    shuffled = list(words)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert missing(text, " | ".join(shuffled)) == []
    things = [word for word in words if word not in ("word", "and", "你好")]
    if things:
        shuffled.remove(things[-1])
        assert missing(text, " | ".join(shuffled)) == [things[-1]]


@given(st.text(max_size=200))
def test_any_text_holds_its_own_parts(text: str) -> None:
    assert missing(text, text) == []
    end = 0
    for item in protected(text):
        assert text[item.span[0] : item.span[1]] == item.text
        assert item.span[0] >= end
        end = item.span[1]


def test_only_words_need_a_model() -> None:
    assert has_words("3 items")
    assert has_words("第3章")
    assert not has_words("12.5 % – https://example.org {name} <b>")
