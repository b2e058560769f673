"""Every code has its sentences, in both languages, over parameters that its callers pass; no sentence is left over."""

import ast
import string
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines import CinquainError, InputError, Note
from pipelines.text.verse import check_form
from pipelines.wording import LANGUAGES, sentence, sentences

ROOT = Path(__file__).parent.parent
SOURCES = sorted(
    path for package in ("pipelines", "finetune", "eval", "apps") for path in (ROOT / package).rglob("*.py")
)


def uses() -> Iterator[tuple[str, set[str] | None, str]]:
    """(code, names of the parameters or None where they are not written out, place) of each note and error."""
    errors = {"CinquainError", "InputError"}
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in SOURCES}
    classes = [node for tree in trees.values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    for _ in range(3):  # children of children
        errors |= {node.name for node in classes if {ast.unparse(base).split(".")[-1] for base in node.bases} & errors}
    for path, tree in trees.items():
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            name = ast.unparse(node.func).split(".")[-1]
            place = f"{path.relative_to(ROOT)}:{node.lineno}"
            if name in errors or name == "note":
                names = {word.arg for word in node.keywords} - {"span"}
                for code in literals(node.args[0]):
                    yield code, None if None in names else names, place
            elif name == "Note":
                given = node.args[1] if len(node.args) > 1 else ast.Dict([], [])
                plain = isinstance(given, ast.Dict) and all(isinstance(key, ast.Constant) for key in given.keys)
                for code in literals(node.args[0]):
                    yield code, {key.value for key in given.keys} if plain else None, place


def literals(node: ast.expr) -> list[str]:
    """The code, or both where a condition chooses."""
    if isinstance(node, ast.IfExp):
        return literals(node.body) + literals(node.orelse)
    return [node.value] if isinstance(node, ast.Constant) and isinstance(node.value, str) else []


def placeholders(template: str) -> set[str]:
    return {
        name.split(".")[0].split("[")[0] for _, name, _, _ in string.Formatter().parse(template) if name is not None
    }


def strings() -> tuple[set[str], tuple[str, ...]]:
    """All strings of the sources, and the beginnings of those that are put together (``f"doctor_{name}"``)."""
    nodes = [node for path in SOURCES for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))]
    whole = {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    begun = {ast.unparse(node.values[0])[1:-1] for node in nodes if isinstance(node, ast.JoinedStr) and node.values}
    return whole, tuple(beginning for beginning in begun if beginning.isidentifier() and beginning.endswith("_"))


USES = list(uses())
WORDS, BEGINNINGS = strings()


def test_the_sources_use_codes():
    assert len({code for code, _, _ in USES}) > 20


@pytest.mark.parametrize(("code", "names", "place"), USES, ids=[f"{code}-{place}" for code, _, place in USES])
def test_each_use_has_a_sentence_that_its_parameters_fill(code, names, place):
    assert code in sentences(), f"{place} uses the code {code!r}, which has no sentence in pipelines/wording"
    if names is not None:
        missing = placeholders(sentences()[code]["en"]) - names
        assert not missing, f"{place} does not pass {missing} to {code!r}"


@pytest.mark.parametrize("code", sentences())
def test_both_languages_say_the_same_things(code):
    texts = sentences()[code]
    assert set(texts) == set(LANGUAGES)
    assert placeholders(texts["en"]) == placeholders(texts["zh"])
    assert all(text.strip() for text in texts.values())
    chinese = any("\u4e00" <= character <= "\u9fff" for character in texts["zh"])
    assert chinese or texts["zh"] == texts["en"]  # a name, such as "git", is the same in both


@pytest.mark.parametrize("code", sentences())
def test_no_sentence_is_left_over(code):
    # A code may also reach a note through a table or a variable; then it, or how it begins, stands in the sources.
    assert code in WORDS or code.startswith(BEGINNINGS), f"nothing uses the code {code!r}"


def test_a_note_and_an_error_become_a_sentence():
    note = Note("reply_at_deadline", {"seconds": 3})
    assert "3 s" in sentence(note)
    assert "3" in sentence(note, "zh-CN")
    assert sentence(note, "zh") != sentence(note, "fr") == sentence(note, "en")
    error = InputError("field_missing", task="dialogue", field="messages")
    assert str(error) == sentence(error) == "dialogue needs the field 'messages', which is missing."


def test_lists_are_shown_with_commas():
    error = InputError("task_unknown", found="x", nearest=["a", "b"])
    assert "a, b" in str(error)


def test_an_unknown_code_still_says_what_is_known():
    assert sentence(CinquainError("no_such_code", file="a.txt")) == "no_such_code: {'file': 'a.txt'}"


def test_errors_survive_pickling():
    import pickle

    error = pickle.loads(pickle.dumps(InputError("field_missing", task="t", field="f")))
    assert isinstance(error, InputError)
    assert (error.code, error.parameters) == ("field_missing", {"task": "t", "field": "f"})


def test_tags_and_terms_are_shown_in_the_reader_s_language():
    detected = Note("source_detected", {"language": "fr", "confidence": 0.9})
    assert "as French (" in sentence(detected)
    assert "为法语（" in sentence(detected, "zh")
    kept = Note("form_ok", {"checks": ["lines", "syllables_line_2"]})
    assert sentence(kept).endswith("number of lines, syllables in line 2.")
    assert sentence(kept, "zh").endswith("：行数、第 2 行音节数。")
    assert "no_such_check" in sentence(Note("form_ok", {"checks": ["no_such_check"]}))


@given(st.text(max_size=20), st.sampled_from(["free", "poem", "haiku", "story", "script", "song", "letter", "email"]))
def test_every_check_of_a_form_has_a_word(text, form):
    assert {f"term_{fact.check}" for fact in check_form(text, form)} <= set(sentences())
