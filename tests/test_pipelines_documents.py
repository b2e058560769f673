"""Documents keep their structure: an identity translation changes nothing, another one changes only the words."""

import io
import time
import zipfile
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines import InputError, pipeline
from pipelines.documents import TranslatedDocument, extract, translate_document
from pipelines.documents.worker import parts

W = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
MARKDOWN = (
    "---\ntitle: Trip\n---\n# The *trip*\n\nWe went to the\nsea in `June`.\n\n- one fish\n  - two fish\n\n"
    "> He said so.\n> Twice.\n\n| Place | Cost |\n|---|---|\n| the sea | 12 |\n\n```py\nprint('hello')\n```\n\n"
    "1. First line  \n   second line\n"
)
SRT = (
    "1\r\n00:00:01,000 --> 00:00:02,500\r\n<i>Good morning,\r\nmy friend.</i>\r\n\r\n"
    "2\r\n00:00:03,000 --> 00:00:04,000\r\n- Hello.\r\n- Goodbye.\r\n"
)
PO = """msgid ""
msgstr ""
"Content-Type: text/plain; charset=UTF-8\\n"
"Plural-Forms: nplurals=3; plural=(n%10==1 ? 0 : n<5 ? 1 : 2);\\n"

#. a comment
msgctxt "menu"
msgid "Open %s\\n"
msgstr ""

msgid "Close"
msgstr "Fertig"

msgid "One file"
msgid_plural "%d files"
msgstr[0] ""
msgstr[1] ""
msgstr[2] ""
"""


def docx(body: str, more: dict[str, str] | None = None) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        archive.writestr("word/document.xml", f'<w:document xmlns:w="{W}"><w:body>{body}</w:body></w:document>')
        for name, text in (more or {}).items():
            archive.writestr(name, text)
    return out.getvalue()


def run(text: str, properties: str = "") -> str:
    return f'<w:r><w:rPr>{properties}</w:rPr><w:t xml:space="preserve">{text}</w:t></w:r>'


def document_of(data: bytes) -> str:
    return zipfile.ZipFile(io.BytesIO(data)).read("word/document.xml").decode()


BODY = (
    f"<w:p>{run('Date: ', '<w:b/>')}{run('today we ')}{run('walk', '<w:i/>')}{run(' far.')}</w:p>"
    f"<w:tbl><w:tr><w:tc><w:p>{run('12.5')}</w:p></w:tc><w:tc><w:p>{run('a cell')}</w:p></w:tc></w:tr></w:tbl>"
)


def translated(data: bytes, name: str, reply: str | None = None) -> TranslatedDocument:
    scripted = pipeline("translation", "scripted")
    if reply is not None:
        from pipelines import Pipeline
        from pipelines.engines.scripted import ScriptedEngine
        from pipelines.tasks import TASKS

        scripted = Pipeline(TASKS["translation"](), ScriptedEngine([reply]))
    *_, last = translate_document(partial(scripted.batch, errors="return"), data, name, target="de")
    assert isinstance(last, TranslatedDocument)
    return last


@pytest.mark.parametrize(("data", "suffix"), [(MARKDOWN.encode(), ".md"), (SRT.encode(), ".srt")])
def test_an_identity_translation_changes_no_byte(data: bytes, suffix: str) -> None:
    found = parts(data, "a", suffix)
    assert found.rebuild(found.texts) == data


@given(
    st.lists(st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\x00"), max_size=40), max_size=12)
)
@settings(max_examples=150, deadline=None)
def test_any_text_comes_back_as_it_was(lines: list[str]) -> None:
    data = "\n".join(lines).encode()
    for suffix in (".txt", ".md", ".srt"):
        found = parts(data, "a", suffix)
        if suffix != ".md" or b"\r" not in data:
            assert found.rebuild(found.texts) == data


@given(st.lists(st.text("ab #>-*|`1.\n", min_size=1, max_size=12), min_size=11, max_size=11))
@settings(max_examples=150, deadline=None)
def test_no_translation_changes_the_blocks_of_markdown(words: list[str]) -> None:
    from markdown_it import MarkdownIt

    def blocks(data: bytes) -> list[str]:
        found = MarkdownIt("commonmark").enable("table").parse(data.decode().partition("---\n#")[2])
        return [token.type for token in found if token.type != "inline"]

    found = parts(MARKDOWN.encode(), "a", ".md")
    new = [f"{word.strip()} x" for word, _ in zip(words * 3, found.texts, strict=False)]
    assert blocks(found.rebuild(new)) == blocks(MARKDOWN.encode())


def test_markdown_keeps_code_front_matter_lists_and_tables() -> None:
    done = translated(MARKDOWN.encode(), "trip.md")
    text = done.data.decode()
    assert text.startswith("---\ntitle: Trip\n---\n# [de] The *trip*\n\n[de] We went to the sea in `June`.\n")
    assert "- [de] one fish\n  - [de] two fish\n" in text
    assert "> [de] He said so. Twice.\n" in text
    assert "| [de] the sea | 12 |" in text
    assert "```py\nprint('hello')\n```" in text
    assert done.name == "trip.de.md"
    assert {note.parameters["kind"] for note in done.notes if note.code == "document_left"} == {
        "document_code", "document_front", "document_numbers",
    }  # fmt: skip


def test_subtitles_keep_times_cues_and_speakers() -> None:
    text = translated(SRT.encode(), "a.srt").data.decode()
    assert text.count("-->") == 2
    assert "- [de] Hello.\r\n- [de] Goodbye.\r\n" in text
    assert "<i>[de] Good" in text
    assert text.count("\r\n") == text.count("\n") == SRT.count("\n")
    hostile = translated(SRT.encode(), "a.srt", "x\n\n3\n00:00:00,000 --> 00:00:01,000\ny").data.decode()
    assert hostile.count("-->") == 2


def test_a_catalog_keeps_contexts_comments_and_what_people_translated() -> None:
    done = translated(PO.encode(), "a.po")
    text = done.data.decode()
    assert '#. a comment\nmsgctxt "menu"\nmsgid "Open %s\\n"\nmsgstr "[de] Open %s\\n"' in text
    assert 'msgstr "Fertig"' in text
    assert 'msgstr[0] "[de] One file"\nmsgstr[1] "[de] %d files"\nmsgstr[2] "[de] %d files"' in text
    assert text.count("#, fuzzy") == 1  # three forms of a plural need a person
    assert {note.code for note in done.notes} >= {"document_plurals", "document_left"}


def test_a_message_that_lost_its_placeholder_is_fuzzy() -> None:
    done = translated(b'msgid ""\nmsgstr ""\n\nmsgid "Open %s"\nmsgstr ""\n', "a.po", "Auf")
    assert '#, fuzzy\nmsgid "Open %s"\nmsgstr "Auf"' in done.data.decode()
    assert "document_lost" in {note.code for note in done.notes}


def test_word_keeps_tables_labels_and_formats() -> None:
    data = docx(
        BODY,
        {"word/media/a.png": "picture", "word/header1.xml": f'<w:hdr xmlns:w="{W}"><w:p>{run("Head")}</w:p></w:hdr>'},
    )
    done = translated(data, "a.docx")
    text = document_of(done.data)
    assert '<w:b/></w:rPr><w:t xml:space="preserve">[de] Date: </w:t>' in text
    assert "[de] today we walk far." in text
    assert "12.5" in text
    assert "[de] a cell" in text
    archive = zipfile.ZipFile(io.BytesIO(done.data))
    assert archive.read("word/media/a.png") == b"picture"
    assert b"[de] Head" in archive.read("word/header1.xml")
    notes = {(note.code, note.parameters.get("kind")) for note in done.notes}
    assert {("document_uniform", None), ("document_left", "document_picture")} <= notes


def test_an_identity_translation_of_word_keeps_every_run() -> None:
    from lxml.etree import canonicalize

    data = docx(BODY)
    found = parts(data, "a", ".docx")
    assert canonicalize(document_of(found.rebuild(found.texts))) == canonicalize(document_of(data))


def test_html_is_read_as_it_is_shown() -> None:
    data = b"<html><body><h1>Title</h1><script>alert(1)</script><p>One &amp; <b>two</b>.</p><!-- no --></body></html>"
    assert extract(data, "a.html").texts == ["Title", "One & two."]


def bomb() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("word/document.xml", b" " * 210_000_000)
    return out.getvalue()


XXE = '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>'


@pytest.mark.parametrize(
    ("data", "name", "code"),
    [
        (b"", "a.txt", "document_empty"),
        (b"%PDF-1.7 and nothing", "a.pdf", "document_damaged"),
        (b"plain", "a.pdf", "document_ending"),
        (docx(BODY), "a.txt", "document_ending"),
        (b"plain", "a.docx", "document_damaged"),
        (b"\xd0\xcf\x11\xe0 old", "a.docx", "document_encrypted"),
        (docx(""), "a.docx", "document_empty"),
        (b"a\x00b", "a.md", "document_damaged"),
        (b"x", "a.exe", "document_format"),
        (b"x" * 20_000_001, "a.txt", "document_large"),
        (docx(BODY, {"word/footnotes.xml": XXE + f'<w:p xmlns:w="{W}">&x;</w:p>'}), "a.docx", "document_unsafe"),
        (b"<!-- -->", "a.html", "document_empty"),
    ],
)
def test_files_that_cannot_be_read_say_why(data: bytes, name: str, code: str) -> None:
    with pytest.raises(InputError) as caught:
        extract(data, name)
    assert caught.value.code in {code, "document_damaged"} if name == "a.html" else caught.value.code == code


def test_a_zip_bomb_ends_early() -> None:
    begun = time.monotonic()
    with pytest.raises(InputError) as caught:
        extract(bomb(), "a.docx")
    assert caught.value.code == "document_unpacks"
    assert time.monotonic() - begun < 30
