"""What tests may do with a program that lives elsewhere, and what is said of programs that fail."""

import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.benchmarks import BenchmarkRow, load_benchmark
from eval.metrics import named, self_test
from eval.sandbox import Limits, judge, judged_code_generation, run, tiers, wire
from pipelines import Pipeline
from pipelines.engines.scripted import ScriptedEngine
from pipelines.errors import CinquainError, UnavailableError

pytestmark = pytest.mark.sandbox

STACK = """
class Stack(list):
    def __init__(self, *items):
        super().__init__(items)
        self.name = "stack"
    def push(self, item):
        self.append(item)
        return self
    def __add__(self, other):
        return Stack(*self, *other)
class Small(Stack): pass
"""


@pytest.mark.parametrize(
    ("code", "tests"),
    [
        ("def f(x):\n    return x * 2", "assert f(2) == 4 and f('ab') == 'abab' and f([1]) == [1, 1]"),
        (
            "def f(x):\n    return x",
            "for x in (None, 2**80, -1.5, 1j, b'x', (1, (2,)), {1, 2}, {(1, 2): [3]}): assert f(x) == x",
        ),
        ("def f(x, *, y=1):\n    return x - y", "def test_y():\n    assert f(3) == 2\n    assert f(x=3, y=3) == 0"),
        ("def f(items):\n    items.sort()", "items = [3, 1]\nf(items)\nassert items == [1, 3]"),
        ("def f(n):\n    yield from range(n)", "assert list(f(3)) == [0, 1, 2]\nassert next(f(1)) == 0"),
        (
            "def f(x):\n    raise ValueError(f'bad {x}')",
            "try:\n    f(1)\n    assert False\nexcept ValueError as e:\n    assert 'bad' in str(e)",
        ),
        ("from collections import Counter\ndef f(x):\n    return Counter(x)", "assert f('aab') == {'a': 2, 'b': 1}"),
        (STACK, "s = Stack(1)\ns.push(2).push(3)\nassert len(s) == 3 and list(s) == [1, 2, 3] and 2 in s"),
        (STACK, "s = Stack()\ns.name = 'mine'\nassert s.name == 'mine' and isinstance(Small(), Stack)"),
        (STACK, "assert Stack(1) + Stack(2) == Stack(1, 2)\nassert Stack(1) != Stack(2)\nassert not Stack()"),
        ("def f(x):\n    return x + 1", "def check(candidate):\n    assert candidate(1) == 2"),
        ("def f(x):\n    return x + 1", "from solution import f\nfrom my_file import f as g\nassert f(1) == g(1) == 2"),
        ("LIMIT = 3", "assert LIMIT == 3"),
        (
            "def f(x):\n    return x",
            "import unittest\nclass T(unittest.TestCase):\n    def test(self):\n        self.assertEqual(f(2), 2)",
        ),
        ("def apply(f, x):\n    return f(x)\ndef one(x):\n    return x + 1", "assert apply(one, 1) == 2"),
        (
            "def f(g, x):\n    return g(g(x))\ndef one(x):\n    return x + 1",
            "assert f(lambda x: [x], 1) == [[1]] and f(int, '3') == 3\nassert f(lambda x: one(x), 1) == 3",
        ),
        (
            "def counted(f):\n    def g(*a):\n        g.calls += 1\n        return f(*a)\n"
            "    g.calls = 0\n    return g",
            "@counted\ndef add(a, b):\n    return a + b\nassert add(1, 2) == 3 and add.calls == 1",
        ),
        ("def queue(x):\n    return x", "assert queue(1) == 1"),
        ("TABLE = list(range(10**6))\ndef f():\n    return len(TABLE)", "assert f() == 10**6"),
    ],
)  # fmt: skip
def test_tests_use_a_program_as_if_it_stood_below_them(code: str, tests: str) -> None:
    outcome = judge(code, tests)
    assert outcome.passed, outcome


@pytest.mark.parametrize(
    ("code", "tests", "status", "detail"),
    [
        ("def f(x):\n    return x - 1", "assert f(1) == 2", "failed", "assert f(1) == 2; f(1) gave 0"),
        ("def f(x):\n    return x[5]", "assert f('a') == 2", "failed", "IndexError: string index out of range"),
        ("def f(x):\n    return f(x)", "assert f(1) == 2", "failed", "RecursionError"),
        ("def f(x:\n    return 1", "assert f(1) == 1", "syntax", "<program>"),
        ("import numpy", "assert f(1) == 1", "error", "No module named 'numpy'"),
        ("x = 1 / 0", "assert x", "error", "ZeroDivisionError: division by zero"),
        ("def g(x):\n    return x", "assert f(1) == 1", "failed", "name 'f' is not defined"),
        ("def f(x):\n    return x", "pass", "untested", "never called"),
        ("def f(x):\n    return x", "", "untested", "never called"),
        ("def f(x):\n    return x", "assert f(iter([1]))", "unsupported", "a list_iterator cannot be handed"),
        ("def f(g):\n    return g(1)", "assert f(lambda x: x / 0) == 1", "failed", "ZeroDivisionError"),
        ("def f(x):\n    return x", "import pytest\nassert f(1) == 1", "unsupported", "pytest"),
        ("def f(x):\n    while True: x += 1", "assert f(1) == 1", "timeout", ""),
        ("import os\nos._exit(0)", "assert f(1) == 1", "died", "ended"),
        ("def f(x):\n    return x", "while True: f(1)", "timeout", ""),
        ("def f(x):\n    return x", "import sys\nsys.exit(0)", "failed", "SystemExit"),
        ("def f(x):\n    return [0] * 10**9", "assert f(1)", "failed", "MemoryError"),
    ],
)
def test_what_is_said_of_what_fails(code: str, tests: str, status: str, detail: str) -> None:
    outcome = judge(code, tests, limits=Limits(cpu_seconds=2, wall_seconds=2))
    assert outcome.status == status
    assert detail in outcome.detail
    assert len(outcome.detail) < 2000


@pytest.mark.parametrize("tier", ["bubblewrap", "landlock"])
def test_a_program_that_used_up_its_time_is_late(tier: tiers.Tier, require_tier: Callable[[str], None]) -> None:
    require_tier(tier)
    outcome = judge("def f(x):\n    while True: x += 1", "f(1)", limits=Limits(cpu_seconds=1), tier=tier)
    assert (outcome.status, outcome.seconds < 10) == ("timeout", True)
    assert run("while True: pass", limits=Limits(cpu_seconds=1), tier=tier).status == "timeout"


def test_a_program_runs_with_what_it_reads_and_writes() -> None:
    outcome = run("import sys\nprint('Hello', input())\nprint('oops', file=sys.stderr)", stdin="Ada\n")
    assert (outcome.status, outcome.output) == ("passed", "Hello Ada\noops\n")
    failed = run("def f():\n    return 1 / 0\nf()")
    assert (failed.status, failed.detail) == ("error", "ZeroDivisionError: division by zero")
    assert "guest.py" not in failed.output
    assert "    return 1 / 0" in failed.output
    assert run("raise SystemExit(3)").status == "error"
    assert run("print('x' * 10**6)").status == "output"
    assert (
        run("import time\nprint('begun', flush=True)\ntime.sleep(9)", limits=Limits(wall_seconds=1)).output == "begun\n"
    )
    assert run("import os\nos.kill(os.getpid(), 9)\nos.abort()").status in ("died", "error")
    assert run("print(input())", stdin="x" * 10**6).status == "output"


def test_without_a_tier_nothing_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    from eval.metrics.code_generation import pass_at_1
    from eval.sandbox import judging

    monkeypatch.setattr(judging, "available_tier", lambda: None)
    with pytest.raises(UnavailableError) as caught:
        judge("x = 1", "assert x == 1")
    assert caught.value.code == "sandbox_none"
    monkeypatch.setattr("eval.metrics.code_generation.available_tier", lambda: None)
    row = BenchmarkRow("1", {}, ("x = 1",), facts={"tests": "assert x == 1"})
    assert [note.code for note in self_test(pass_at_1(), [row])] == ["metric_no_sandbox"]


def test_a_guest_that_does_not_start_is_no_wrong_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    from eval.sandbox import judging

    monkeypatch.setattr(
        judging,
        "command",
        lambda tier, script, *words: ["/bin/false"] if "guest" in script else tiers.command(tier, script, *words),
    )
    for start in (lambda: judge("x = 1", "assert x == 1"), lambda: run("print(1)")):
        with pytest.raises(CinquainError) as caught:
            start()
        assert caught.value.code == "sandbox_broken"


NUMBERS = st.integers() | st.floats(allow_nan=False) | st.complex_numbers(allow_nan=False)
PLAIN = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text() | st.integers(), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(PLAIN)
def test_what_is_sent_arrives_as_it_was(value: object) -> None:
    found = wire.decode(wire.encode(value))
    assert found == value
    assert type(found) is type(value)


@given(
    st.binary(max_size=60) | st.text(max_size=60).map(str.encode) | PLAIN.map(wire.encode).map(lambda data: data[:-1])
)
def test_garbage_is_refused_and_nothing_else(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        wire.decode(data, lambda parts: parts)


def problems(step: int) -> list[BenchmarkRow]:
    return list(load_benchmark("humaneval").rows)[::step]


def solved(rows: list[BenchmarkRow], replies: list[str]) -> int:
    return int(named("pass_at_1").statistics(replies, rows)[:, 0].sum())


@pytest.mark.parametrize("step", [12, pytest.param(1, marks=pytest.mark.slow)])
def test_solutions_of_humaneval_pass_and_empty_ones_do_not(step: int) -> None:
    rows = problems(step)
    assert solved(rows, [row.references[0] for row in rows]) == len(rows)
    assert solved(rows, [row.request["signature"] + "\n    return None\n" for row in rows]) == 0


def test_helpers_of_a_signature_are_trusted_and_not_those_of_the_program() -> None:
    rows = {row.id: row for row in problems(1)}
    cheat = "def poly(xs, x):\n    return 0\ndef find_zero(xs):\n    return 0\n"
    assert solved([rows["HumanEval/32"]], [cheat]) == 0


def test_many_programs_at_once() -> None:
    with ThreadPoolExecutor(8) as pool:
        outcomes = list(
            pool.map(lambda n: judge(f"def f(x):\n    return x + {n}", f"assert f(1) == {1 + n}"), range(40))
        )
    assert all(outcome.passed for outcome in outcomes)


@pytest.mark.parametrize(
    ("fields", "notes"),
    [
        ({"tests": "assert add(1, 2) == 3"}, ["tests_passed"]),
        ({"tests": "assert add(1, 2) == 4"}, ["check_failed"]),
        ({"tests": "assert add(1, 2) == 4", "repair": 1}, ["check_failed", "repair_failed"]),
        ({"tests": "console.assert(add(1, 2) === 3)", "language": "javascript"}, ["code_not_checked"]),
        ({"tests": "console.assert(add(1, 2) === 3)", "language": "javascript", "repair": 1}, ["code_not_checked"]),
        ({}, []),
    ],
)
def test_code_generation_says_whether_tests_passed(fields: dict[str, object], notes: list[str]) -> None:
    engine = ScriptedEngine(["```python\ndef add(a, b):\n    return a + b\n```"] * 3)
    generation = Pipeline(judged_code_generation(), engine)(instruction="Add.", **fields)
    assert [note.code for note in generation.notes] == notes
