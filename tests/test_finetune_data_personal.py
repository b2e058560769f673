"""Personal data is found by its form in five languages, and what only looks like it stays."""

import re
import time
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune.data import DataConfig, Source
from finetune.data.personal import personal_data
from finetune.data.row import Outcome, Row
from pipelines.text.personal import KINDS, find

EMAILS = [
    ("en", "Write to {} before Friday.", "anna.smith@example.org"),
    ("en", "Contact: {}", "j.doe+news@mail.company.co.uk"),
    ("en", "<a href='mailto:{}'>mail</a>", "x_y-z@sub.domain.info"),
    ("en", "I am on {}, ask me.", "bob@gmail.com"),
    ("en", "From: Bob <{}>", "BOB@EXAMPLE.COM"),
    ("en", "it was {}!", "o%connor@irish.ie"),
    ("zh", "请发邮件至{}联系我们。", "zhang.wei@example.cn"),
    ("zh", "我的邮箱是{}，谢谢", "12345678@qq.com"),
    ("zh", "邮箱：{}", "li-ming@163.com"),
    ("fr", "Écrivez à {} avant lundi.", "jean.dupont@orange.fr"),
    ("fr", "adresse ({})", "contact@société-générale.fr"),
    ("de", "Meine Adresse ist {}.", "h.müller@web.de"),
    ("de", "Schreib an {}; danke", "info@bücher-online.de"),
    ("es", "Escríbame a {}", "maria.garcia@correo.es"),
    ("es", "mi correo: {}\n", "jose_luis@empresa.com.mx"),
]
PHONES = [
    ("en", "Call me at {}.", "(201) 555-0123"),
    ("en", "call {} now", "2015550123"),
    ("en", "Her office, {}, is closed.", "212-736-5000"),
    ("en", "Phone:{}", "+1 212 736 5000"),
    ("en", "text me {}", "201.555.0123"),
    ("en", "Ring {} for tickets", "020 7946 0958"),
    ("en", "London {}", "+44 20 7946 0958"),
    ("en", "tel:{}", "+44-20-7946-0958"),
    ("en", "My number is {}, bye", "917 555 0142"),
    ("en", "Munich ({})", "+49 89 636 48018"),
    ("zh", "请拨打{}联系我", "13812345678"),
    ("zh", "我的电话是{}。", "138 1234 5678"),
    ("zh", "手机号{}，随时打给我", "15912345678"),
    ("zh", "王先生{}", "18612345678"),
    ("zh", "座机：{}", "010-6552-9988"),
    ("zh", "国际长途 {}", "+86 10 6552 9988"),
    ("zh", "客服热线{}", "400-820-8820"),
    ("fr", "Appelez le {} demain.", "01 42 68 53 00"),
    ("fr", "Mon portable : {}", "06.12.34.56.78"),
    ("fr", "tél. {}", "0142685300"),
    ("fr", "Joignable au {}.", "06 12 34 56 78"),
    ("fr", "Depuis l'étranger {}", "+33 1 42 68 53 00"),
    ("fr", "ou {}", "0033 1 42 68 53 00"),
    ("de", "Telefon {}", "030 1234567"),
    ("de", "Ruf mich an: {}", "0171/1234567"),
    ("de", "Büro: {}", "+49 (0)30 1234567"),
    ("de", "Handy {}", "0151 23456789"),
    ("de", "Telefon-Nr. {}", "030 1234567"),
    ("de", "Unter {} erreichbar", "089 / 636-480"),
    ("es", "Llámame al {}", "612 345 678"),
    ("es", "móvil {}", "612345678"),
    ("es", "Madrid {}", "91 123 45 67"),
    ("es", "México {}", "+52 55 5093 0000"),
]
NUMBERS = [
    ("card", "Visa {} until 12/27", "4111 1111 1111 1111"),
    ("card", "Mastercard {}", "5500-0000-0000-0004"),
    ("card", "Amex {}, please", "378282246310005"),
    ("card", "carte {}", "3782 822463 10005"),
    ("card", "卡号{}，有效期", "6011111111111117"),
    ("card", "Karte: {} 123", "4012 8888 8888 1881"),
    ("card", "银联卡 {}", "6222 0212 3456 7890 128"),
    ("iban", "IBAN {} BIC COBADEFF", "DE89 3704 0044 0532 0130 00"),
    ("iban", "compte {}", "FR14 2004 1010 0505 0001 3M02 606"),
    ("iban", "cuenta {}.", "ES9121000418450200051332"),
    ("iban", "account {} AND", "GB29 NWBK 6016 1331 9268 19"),
    ("iban", "账户{}已开通", "NL91ABNA0417164300"),
    ("national_id", "身份证号{}。", "11010519491231002X"),
    ("national_id", "身份证：{}", "440308199901101512"),
    ("national_id", "DNI {}", "12345678Z"),
    ("national_id", "con DNI {}, vecino", "12345678-Z"),
    ("national_id", "NIE {}", "X1234567L"),
    ("national_id", "numéro de sécu {}", "2 95 10 99 126 111 93"),
    ("national_id", "sécurité sociale : {}", "253072B07300470"),
    ("national_id", "SSN {}", "536-90-4399"),
]


def spans(text: str, languages: tuple[str, ...] = ("en",), **options: Any) -> list[tuple[str, str]]:
    return [(kind, text[start:end]) for start, end, kind in find(text, languages, **options)]


ITEMS = [
    *((language, "email", text, value) for language, text, value in EMAILS),
    *((language, "phone", text, value) for language, text, value in PHONES),
    *(("en", *number) for number in NUMBERS),
]


@pytest.mark.parametrize(("language", "kind", "text", "value"), ITEMS)
def test_it_is_found_as_it_is_written(language: str, kind: str, text: str, value: str) -> None:
    assert spans(text.format(value), (language,)) == [(kind, value)]


def test_the_list_is_long_enough_to_mean_something() -> None:
    assert len(ITEMS) >= 60


NOTHING = [
    "version 1.2.3.4567, then 10.15.7 build 19H2026",
    "ISBN 978-3-16-148410-0 and ISBN 0-306-40615-2, ISSN 2049-3630",
    "On 2026-11-25 and 25.11.2026, 11/25/2026 10:30:00, 2026-11-25T10:30:00.123456",
    "from 1990-01-01 1990-12-31 until 31-12-1999",
    "192.168.100.10 and 127.0.0.1:8080, 123.452.678.9, maddr=239.255.255.1;ttl=15",
    "fe80:1234:5678:9abc:0000:1111:2222:3333",
    "0xDEADBEEF12345678 d41d8cd98f00b204e9800998ecf8427e 1.38435736E+12 38435736E+12",
    "Decimal('+35236450.6') - 3.14159265358979",
    "10 000 000 or 1,000,000,000 or 1.234.567 people",
    "    7  8  9 10 11 12 13\n   14 15 16 17 18 19 20\n27 28 29 30 31",
    "23/3  149.937    6.519  169.917   56.639 profilee.py",
    "1024 2048 4096 8192\n1200 3400 5600 7800\n12 15 18 21 24 27 30",
    "1024x768, 800/600/400, 3/4/2000/1500",
    "order 2015550123, ticket #4155550123, id=13812345678",
    "ssh root@localhost, scp file user@host:/tmp, git@github.com:org/name.git",
    "@dataclass\nclass A: pass\n@app.route('/x')\ndef f(): ...",
    "y = x@w + A@np.linalg.inv(B) + x@self.weight",
    "icon@2x.png, npm i react@18.2.0 @types/node@latest.tgz",
    "4111 1111 1111 1112 is no card, nor 0000 0000 0000 0000, nor 4444444444444444444",
    "DE89 3704 0044 0532 0130 01 is no account, XX00 1234 5678 9012 neither",
    "timestamps 1700000000 and 1700000000000, 20261125103000",
    "000-12-3456 666-12-3456 900-12-3456 12-345-6789",
    "Unix 1969, 1970, 1971; 50% of 1234567890",
    "12345678A, AB12345678Z, 1234567Z",
    "pages 100-200-300, lines 12-34-56-78",
    "0.608477 -0.012500 0.70710678-0.j 0.3.31.188.0 GNU Fortran 0.5.25 20010319, NumPy <= 0.9.6.2127, 0300-01-01",
    "Series([635554097106142143, 4220315081820346526])",
    "pi = 3.1415926535 8979323846 2643383279",
]


@pytest.mark.parametrize("text", NOTHING)
@pytest.mark.parametrize("language", ["en", "fr", "de", "es"])
def test_what_only_looks_like_it_stays(language: str, text: str) -> None:
    assert spans(text, (language,)) == []


ADVERSARIAL = [
    "1", "1 ", "1-", "(1", "+1", "1.", "1/", "a@", "@", "a@b.", "a-", "a.", "a@a.a", "a%", "4111 ", "41111111-",
    "AB12 ", "AB12 ABCD ", "DE89 3704 0044 ", "1 23 ", "2 23 01 1A 123 ", "1 85 05 78 006 084 ", "12345678-", "123-45-",
    "12345678901234567 ", "call 1234567 ", "12 34 56 78 ", "1 000 ", "1990-01-01 ", "中1", "电话1", "é@", "My name is ",
    "Hi ", "I am A", "Dear ,", "1\u00a0", "a1@b2.c3.", "01.02.", "1  1", "2026-1-1 ", "1.1 ",
]  # fmt: skip


@pytest.mark.parametrize("piece", [*ADVERSARIAL, "a" * 64 + "@" + "b-" * 30])
def test_no_text_takes_more_than_its_length(piece: str) -> None:
    """A pattern that goes back and forth takes minutes for 100 kB; these take under 0.3 s on a quiet core."""
    text = (piece * (100_000 // len(piece) + 1))[:100_000]
    began = time.process_time()
    find(text, ("en", "fr", "de", "es", "zh"), names=True)
    assert time.process_time() - began < 2.0


def test_a_megabyte_of_prose_takes_less_than_two_seconds() -> None:
    prose = "The 12 trains of 2026-11-25 left at 10:30 with 1,250 people; 3 of 4 came late. " * 13_000
    began = time.process_time()
    find(prose, names=True)
    assert time.process_time() - began < 2.0


@given(st.text(alphabet="aB1 2-.@+()/:中é\n\u00a0<>X", max_size=200))
def test_spans_are_in_order_and_never_overlap(text: str) -> None:
    found = find(text, ("en", "fr", "de", "es", "zh"), names=True)
    assert all(0 <= start < end <= len(text) and kind in KINDS for start, end, kind in found)
    assert all(one[1] <= two[0] for one, two in pairwise(found))


def did(request: dict[str, Any], reply: str, task: str = "translation", **changes: Any) -> Outcome:
    config = DataConfig(task=task, sources=[Source(path="rows.jsonl")], **changes)
    return personal_data(config)(Row("rows:1", request, reply, "g", "rows"))


def test_a_value_has_one_placeholder_in_request_and_reply() -> None:
    request = {"text": "Mail a.b@x.org or ab@x.org, phone +1 (201) 555-0123.", "target": "fr"}
    outcome = did(request, "Écrivez à AB@x.org ou A.B@x.org, téléphone +1-201-555-0123.")
    (row,) = outcome.rows
    assert row.request["text"] == "Mail <EMAIL_1> or <EMAIL_2>, phone <PHONE_1>."
    assert row.reply == "Écrivez à <EMAIL_2> ou <EMAIL_1>, téléphone <PHONE_1>."
    assert outcome.changes == ("email", "phone")
    assert [(each.kind, each.replacement) for each in outcome.redactions] == [
        ("email", "<EMAIL_1>"), ("email", "<EMAIL_2>"), ("phone", "<PHONE_1>"),
    ]  # fmt: skip
    assert did(row.request, row.reply).changes == ()  # nothing is found in what was redacted


def test_a_set_that_was_redacted_before_keeps_its_placeholders_apart() -> None:
    (row,) = did({"text": "<EMAIL_1> wrote to b@x.org", "target": "fr"}, "<EMAIL_1> a écrit à b@x.org").rows
    assert row.reply == "<EMAIL_1> a écrit à <EMAIL_2>"


def test_every_turn_and_every_pair_of_a_glossary_is_read() -> None:
    turns = [{"role": "system", "content": "Be c@x.org."}, {"role": "user", "content": "Who is d@x.org?"}]
    (row,) = did({"messages": turns}, "d@x.org is d.", "dialogue").rows
    assert [turn["content"] for turn in row.request["messages"]] == ["Be <EMAIL_1>.", "Who is <EMAIL_2>?"]
    assert row.reply == "<EMAIL_2> is d."
    request = {"text": "Mail us.", "target": "fr", "glossary": {"us": "e@x.org"}}
    assert did(request, "Écrivez-nous.").rows[0].request["glossary"] == {"us": "<EMAIL_1>"}


def test_rows_may_be_dropped_instead_and_clean_ones_are_the_same_object() -> None:
    dropped = did({"text": "Mail a@x.org.", "target": "fr"}, "Bonjour.", personal_data="drop")
    assert (dropped.rows, dropped.reason, dropped.details) == ((), "personal_data", {"kinds": ["email"]})
    row = Row("rows:1", {"text": "Good morning.", "target": "fr"}, "Bonjour.", "g", "rows")
    outcome = personal_data(DataConfig(task="translation", sources=[Source(path="x")]))(row)
    assert outcome.rows[0] is row


def test_the_languages_of_the_row_decide_how_numbers_are_written() -> None:
    french = {"text": "Call 01 42 68 53 00.", "source": "en", "target": "fr"}
    assert "<PHONE_1>" in did(french, "Appelez le 01 42 68 53 00.").rows[0].reply
    assert did({**french, "target": "es"}, "Llame al 01 42 68 53 00.").changes == ()


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("Hi Brian!!! How are you?", ["Brian"]),
        ("My name is Anna, and yours?", ["Anna"]),
        ("Hello, I'm Peter.", ["Peter"]),
        ("Dear Mary, dear John, this is Sue.", ["Mary", "John", "Sue"]),
        ("Hi there! I'm Sorry. Dear Sir, hello World, I am Chinese.", []),
        ("hey guys, I am Just here", []),
    ],
)
def test_names_are_found_where_they_are_asked_for_and_introduced(text: str, names: list[str]) -> None:
    assert spans(text) == []
    assert spans(text, names=True) == [("name", name) for name in names]


@pytest.mark.parametrize(
    ("text", "reply"),
    [
        ("Please call me: 13800138000", "13800138000 是我的号码。"),
        ("13800138000 is mine.", "请致电13800138000。"),
        ("My office: 010-62345678.", "电话：010 6234 5678"),
        ("Write to Anna.Smith@example.org", "An anna.smith@example.org schreiben"),
    ],
)
def test_what_one_side_shows_to_be_personal_is_replaced_on_both(text: str, reply: str) -> None:
    row = Row("r:1", {"text": text, "source": "en", "target": "zh-Hans"}, reply, "g", "s")
    (found,) = personal_data(DataConfig(task="translation", sources=[Source(path="x")]))(row).rows
    (placeholder,) = set(re.findall(r"<[A-Z]+_1>", found.reply))
    assert found.request["text"].count(placeholder) == found.reply.count(placeholder) == 1
    assert not re.search(r"\d{4}|@", found.request["text"] + found.reply)


def test_a_number_within_a_longer_one_is_left_alone() -> None:
    row = Row("r:1", {"text": "Call 13800138000.", "source": "zh", "target": "en"}, "Order 913800138000x7", "g", "s")
    (found,) = personal_data(DataConfig(task="translation", sources=[Source(path="x")]))(row).rows
    assert found.reply == "Order 913800138000x7"
