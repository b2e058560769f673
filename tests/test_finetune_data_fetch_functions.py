"""Functions of Python's own library as rows: whole, alone, and read as signature and function."""

import ast
import json
import sysconfig
from pathlib import Path

import pytest

from finetune.data.fetch import FetchResult, fetch
from tests.doubles.data_rows import counting_model, lines_of, prepared_rows


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return counting_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def functions(tmp_path_factory: pytest.TempPathFactory) -> FetchResult:
    """The functions of the library of this Python."""
    return fetch("python-functions", tmp_path_factory.mktemp("functions") / "functions.jsonl")


def test_functions_of_this_python_are_whole(functions: FetchResult) -> None:
    rows = lines_of(functions.path)
    assert len(rows) > 200
    for row in rows:
        *before, function = ast.parse(f"{row['prompt']}{row['response']}\n").body
        assert isinstance(function, ast.FunctionDef)
        assert function.name == row["name"]
        words = (ast.get_docstring(function) or "").partition(">>>")[0]
        assert len(words.strip()) >= 30
        assert "deprecated" not in words.lower()
        assert all(isinstance(node, ast.Import | ast.ImportFrom | ast.Assign) for node in before)
        assert "global " not in row["response"]
        assert row["doc"].split(".")[0] not in ("logging", "tarfile", "optparse", "test", "idlelib")
    card = json.loads(functions.card.read_text(encoding="utf-8"))
    (origin,) = card["packages"]
    assert "PYTHON SOFTWARE FOUNDATION LICENSE VERSION 2" in origin["licence_text"]
    assert "Python Software Foundation; All Rights Reserved" in " ".join(origin["licence_text"].split())
    assert card["changes"].startswith("Functions taken out of their modules")  # clause 3 asks for it


def test_functions_are_read_as_signature_and_whole_function(
    functions: FetchResult, model: Path, tmp_path: Path
) -> None:
    some = tmp_path / "functions.jsonl"
    some.write_text("\n".join(functions.path.read_text(encoding="utf-8").splitlines()[::20]) + "\n", encoding="utf-8")
    for row in prepared_rows("python-functions", some, model, tmp_path / "prepared"):
        assert row["request"].keys() == {"signature"}
        code = row["reply"].removeprefix("```python\n").removesuffix("\n```")
        assert code.startswith(row["request"]["signature"])
        ast.parse(code)


LIBRARY = {
    "good.py": '''
import os.path as paths
from . import neighbour
from json import load, loads, dump, dumps, JSONEncoder
MOST = 10
state = None
seen = []
changed = 5

def touch():
    """Set what the others only think is constant."""
    global changed
    changed = 6

@staticmethod
def wanted(text: str, most=MOST):
    """Put text as JSON into lines, at most so many of them.

    >>> wanted("a")
    """
    short = paths.basename(text), load, loads, dump, JSONEncoder
    return dumps(short)[:most]

def uses_state():
    """Say whether anything has happened in this module."""
    done = state or seen
    return done

def uses_changed():
    """Say which number the other function has put there."""
    number = changed
    return number

def calls_neighbour():
    """Ask the neighbour for its opinion about all of this."""
    found = neighbour.ask()
    return found

def old():
    """Do the same as wanted. Deprecated since version 3.1."""
    one = 1
    return one

def only_examples():
    """
    >>> only_examples()
    1
    >>> only_examples() + only_examples()
    2
    """
    one = 1
    return one

def later():
    """Do something that somebody will write some day, soon."""
    one = 1
    return one  # TODO: write it

def silent():
    return 1
''',
    "theirs.py": '''
# Permission to use, copy, modify and distribute this software and its
#    documentation is granted to whom it may concern.
def documented():
    """Do what the licence of somebody else allows us to do."""
    one = 1
    return one
''',
    "given.py": '''
# Licensed to PSF under a Contributor Agreement.
# Permission is hereby granted.
def given():
    """Do what was given to the foundation, under its licence."""
    one = 1
    return one
''',
    "template.py": "def {name}(): pass\n",
    "test/cases.py": 'def helper():\n    """Help with the tests of the library only."""\n    a = 1\n    return a\n',
}


def test_only_functions_that_stand_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = tmp_path / "library"
    for place, text in LIBRARY.items():
        (library / place).parent.mkdir(parents=True, exist_ok=True)
        (library / place).write_text(text, encoding="utf-8")
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(library))
    out = tmp_path / "functions.jsonl"
    result = fetch("python-functions", out)
    rows = {row["name"]: row for row in lines_of(out)}
    assert rows.keys() == {"wanted", "given"}
    before, _, function = rows["wanted"]["prompt"].partition("\n\n\n")
    # Those of one line by their names: a set of Python has another order in each process.
    names = [f"from json import {name}" for name in ("JSONEncoder", "dump", "dumps", "load", "loads")]
    assert before.split("\n") == ["import os.path as paths", *names, "MOST = 10"]
    assert function.startswith("@staticmethod\ndef wanted(text: str, most=MOST):\n")
    assert rows["wanted"]["response"] == (
        "    short = paths.basename(text), load, loads, dump, JSONEncoder\n    return dumps(short)[:most]"
    )
    assert result.left_out == {
        "deprecated": 1,
        "docstring_length": 1,
        "not_alone": 4,
        "not_python": 1,
        "other_licence": 1,
        "unfinished": 1,
    }
    licence = json.loads(result.card.read_text())["packages"][0]["licence_text"]  # the library has none here
    assert "Python Software Foundation" in licence
    assert "/license.html" in licence
