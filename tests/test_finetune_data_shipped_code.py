"""The training set of programs: each one stands in its reply as the task reads it, runs, and does what its row asks.

Rows that show their tests to the model are held to those. For the others the checks lie in
``tests/doubles/shipped_code_checks.txt``, each under the beginning of the row's request.
"""

import json
import re
import shutil
import sqlite3
import subprocess
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from pipelines.requests import validate
from pipelines.tasks import TASKS
from pipelines.text.code import code_blocks, fenced, syntax_problem

ROOT = Path(__file__).resolve().parent.parent
LINES = (ROOT / "finetune/data/shipped/code_generation.jsonl").read_text(encoding="utf-8").splitlines()
ROWS: list[dict[str, Any]] = [json.loads(line) for line in LINES]
TASK = TASKS["code_generation"]()

_TEXT = (ROOT / "tests/doubles/shipped_code_checks.txt").read_text(encoding="utf-8")
CHECKS = dict(re.findall(r"(?ms)^=== ([^\n]+)\n(.*?)(?=^=== |\Z)", _TEXT))

NODE_PRELUDE = 'const assert = require("node:assert/strict");\n'
BASH_PRELUDE = 'set -e\nrefuses() { if "$@"; then return 1; fi; }\n'


def language(row: dict[str, Any]) -> str:
    return row["request"].get("language", "python")


def asked(row: dict[str, Any]) -> str:
    return row["request"].get("instruction") or row["request"]["signature"]


def program(row: dict[str, Any]) -> str:
    return TASK.parse(row["reply"], validate(TASK.request_type, row["request"], TASK.name))


def check(row: dict[str, Any]) -> str:
    """What the program is held to: the tests of its row, and the check that begins as the row's request does."""
    found = [
        text for opening, text in CHECKS.items() if any(line.startswith(opening) for line in asked(row).split("\n"))
    ]
    assert len(found) <= 1, asked(row)
    return "\n".join([row["request"].get("tests", ""), *found])


def rows_in(*languages: str) -> Any:
    rows = [row for row in ROWS if language(row) in languages]
    return pytest.mark.parametrize("row", rows, ids=[asked(row).strip()[:40] for row in rows])


def test_each_check_belongs_to_one_row() -> None:
    owners = Counter(opening for opening in CHECKS for row in ROWS if f"\n{opening}" in f"\n{asked(row)}")
    assert owners == dict.fromkeys(CHECKS, 1)


def test_mostly_python_partly_chinese_and_no_two_rows_begin_alike() -> None:
    assert 100 <= len(ROWS) <= 160
    assert set(map(language, ROWS)) == {"python", "javascript", "bash", "sql"}
    assert 0.7 <= sum(language(row) == "python" for row in ROWS) / len(ROWS) <= 0.8
    assert 0.25 <= sum(bool(re.search(r"[\u4e00-\u9fff]{2}", asked(row))) for row in ROWS) / len(ROWS) <= 0.35
    assert len({asked(row)[:12] for row in ROWS if "instruction" in row["request"]}) == sum(
        "instruction" in row["request"] for row in ROWS
    )
    kinds = Counter(row["kind"] for row in ROWS)
    assert len(kinds) >= 15
    assert max(kinds.values()) <= len(ROWS) / 4


def test_a_program_defines_what_no_other_program_defines() -> None:
    names = Counter(
        name for row in ROWS for name in set(re.findall(r"(?m)^(?:def|class|function) (\w+)", program(row)))
    )
    assert {name for name, count in names.items() if count > 1} <= {"main"}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: asked(row).strip()[:40])
def test_the_reply_is_one_block_of_its_language_and_nothing_else(row: dict[str, Any]) -> None:
    (block,) = code_blocks(row["reply"])
    assert (block.language, block.closed) == (language(row), True)
    assert row["reply"] == fenced(block.code, block.language)
    assert program(row) == block.code
    assert max(map(len, block.code.split("\n"))) <= 120
    assert not re.search(r"[ \t]$", block.code, re.MULTILINE)


@rows_in("python")
def test_python_programs_run_and_pass(row: dict[str, Any]) -> None:
    assert syntax_problem(program(row)) is None
    assert "assert" in check(row)
    source = f"{program(row)}\n\n\n{check(row)}"
    exec(compile(source, "shipped row", "exec", dont_inherit=True), {"__name__": "program"})


@rows_in("javascript")
def test_javascript_programs_run_and_pass(row: dict[str, Any]) -> None:
    assert "assert" in check(row)
    if not (node := shutil.which("node")):
        without_texts = re.sub(r"\"[^\"]*\"|'[^']*'|`[^`]*`|/\[[^\]]*\]/|//.*", "", program(row))
        assert all(without_texts.count(a) == without_texts.count(b) for a, b in ("()", "[]", "{}"))
        return
    source = f"{NODE_PRELUDE}{program(row)}\n{check(row)}"
    done = subprocess.run([node, "-"], input=source, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")  # console.assert only writes


@rows_in("bash")
def test_shell_programs_run_and_pass(row: dict[str, Any], tmp_path: Path) -> None:
    file, folder = tmp_path / "program", tmp_path / "folder"
    file.write_text(program(row) + "\n", encoding="utf-8")
    folder.mkdir()
    assert check(row).strip()
    done = subprocess.run(
        ["bash", "-c", f"program='{file}'\n{BASH_PRELUDE}{check(row)}"],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr


@rows_in("sql")
def test_queries_find_what_they_should(row: dict[str, Any]) -> None:
    # Tables and rows, then (where the program is no query) what is done afterwards and a query, then what it finds.
    setup, *after, expected = check(row).split("-- ")
    with closing(sqlite3.connect(":memory:")) as database:
        database.executescript(setup)
        if after:
            database.executescript("\n".join([program(row), *after[:-1]]))
        found = database.execute(after[-1] if after else program(row))
        assert [list(line) for line in found] == json.loads(expected)
