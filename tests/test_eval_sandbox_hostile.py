"""Programs that attack: none passes, none reaches anything, nothing of them is left."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from eval.sandbox import Limits, judge
from tests.doubles.hostile import CHEATS, FORGERIES, GREEDY, INTRUDERS, TESTS

PROJECT = Path(__file__).parent.parent
PROGRAMS = CHEATS | FORGERIES | GREEDY | INTRUDERS
# One or two of each kind in every run of the tests; all of them in `make test-all`.
QUICK = (
    "equal_to_everything", "equal_integer", "exit_in_call", "own_builtins", "frames_walked", "reply_forged",
    "builtins_in_reply", "endless", "memory", "forks", "disk", "reads_a_file", "environment_of_others", "port",
    "kills_the_test", "old_system_calls", "writes_outside",
)  # fmt: skip
LIMITS = Limits(cpu_seconds=2, wall_seconds=4)
TIERS = ("bubblewrap", "landlock")
Require = Callable[[str], None]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """What programs look for, outside."""
    hidden = tmp_path_factory.mktemp("outside") / "hidden"
    hidden.write_text("secret", encoding="utf-8")
    name = f"cinquain-{os.getpid()}"
    before = os.environ.get("HF_TOKEN")
    os.environ["HF_TOKEN"] = "hf_not_for_programs"
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as abstract:
        abstract.bind("\0" + name)
        abstract.listen()
        yield {
            "HIDDEN": str(hidden), "PORT": str(server.getsockname()[1]), "SOCKET": name, "PARENT": str(os.getpid()),
            "PROJECT": str(PROJECT),
        }  # fmt: skip
    if before is None:
        del os.environ["HF_TOKEN"]
    else:
        os.environ["HF_TOKEN"] = before
    assert hidden.read_text(encoding="utf-8") == "secret"


def attack(name: str, tier: str, world: dict[str, str]) -> str:
    """The status that a program got."""
    code = PROGRAMS[name]
    for word, value in world.items():
        code = code.replace(word, value)
    return judge(code, TESTS, entry_point="add", limits=LIMITS, tier=tier).status  # type: ignore[arg-type]


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("name", QUICK)
def test_no_hostile_program_passes(name: str, tier: str, world: dict[str, str], require_tier: Require) -> None:
    require_tier(tier)
    assert attack(name, tier, world) not in ("passed", "untested", "unsupported")


@pytest.mark.slow
@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("name", [name for name in PROGRAMS if name not in QUICK])
def test_no_other_hostile_program_passes(name: str, tier: str, world: dict[str, str], require_tier: Require) -> None:
    require_tier(tier)
    assert attack(name, tier, world) not in ("passed", "untested", "unsupported")


@pytest.mark.parametrize("tier", TIERS)
def test_a_good_program_passes_among_hostile_ones_that_run_at_the_same_time(
    tier: str, world: dict[str, str], require_tier: Require
) -> None:
    require_tier(tier)
    good = "def add(a, b):\n    return a + b"
    with ThreadPoolExecutor(6) as pool:
        hostile = [pool.submit(attack, name, tier, world) for name in ("fork_bomb", "threads", "kills_all", "disk")]
        fair = [pool.submit(judge, good, TESTS, entry_point="add", tier=tier) for _ in range(8)]  # type: ignore[arg-type]
        assert all(each.result().passed for each in fair)
        assert all(each.result() != "passed" for each in hostile)


def test_nothing_of_a_program_is_left(world: dict[str, str], require_tier: Require) -> None:
    require_tier("bubblewrap")
    script = (
        "from eval.sandbox import Limits, judge, run\nfrom tests.doubles.hostile import TESTS, GREEDY\n"
        "for tier in ('bubblewrap', 'landlock'):\n"
        "    for name in ('daemon', 'sleeps'):\n"
        "        judge(GREEDY[name], TESTS, entry_point='add', limits=Limits(wall_seconds=1), tier=tier)\n"
        '    run(\'import time\\nopen("x", "w")\\ntime.sleep(60)\', limits=Limits(wall_seconds=1), tier=tier)\n'
        "import psutil\nassert not psutil.Process().children(recursive=True)\n"
    )
    subprocess.run([sys.executable, "-c", script], cwd=PROJECT, check=True)


def test_the_program_ends_with_whoever_judges_it(world: dict[str, str], require_tier: Require) -> None:
    require_tier("bubblewrap")
    for tier in TIERS:
        script = (
            "from eval.sandbox import Limits, judge\n"
            f"judge('import time\\ntime.sleep(50)', '', limits=Limits(wall_seconds=60), tier='{tier}')\n"
        )
        judging = subprocess.Popen([sys.executable, "-c", script], cwd=PROJECT)
        process = psutil.Process(judging.pid)
        children: list[psutil.Process] = []
        while len(children) < (3 if tier == "bubblewrap" else 2):
            children = process.children(recursive=True)
            assert judging.poll() is None
        judging.kill()
        judging.wait()
        _, alive = psutil.wait_procs(children, timeout=10)
        assert not alive
