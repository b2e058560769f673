"""The READMEs are true: every command and example in them is executed, or checked as far as a dry run goes.

An HTML comment on the line above a code block, invisible to readers, says how it is tested:

    <!-- test: run -->             executed as written, with the embedded model; it must succeed
    <!-- test: setup -->           installs or serves: each line is checked (make targets, pip's constraints, options)
    <!-- test: dry-run REASON -->  needs the hub, a gpu, a server or a terminal: commands and options must exist
    <!-- test: compare -->         (text) what the block before it prints, except for numbers; a line of … skips some
    <!-- test: output -->          (text, console) an example of output; not tested

Shell and Python blocks without a mark fail the test. Blocks share a folder per README, in their order.
"""

import ast
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ENGLISH, CHINESE = ROOT / "README.md", ROOT / "README.zh-CN.md"
BLOCK = re.compile(
    r"(?:^<!-- test: (?P<mark>[^\n]*?) -->\n)?^```(?P<language>\w*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL
)
SHELLS = {"bash", "sh", "console", "powershell"}
MARK = re.compile(r"run|setup|compare|output|dry-run (hub|gpu|server|terminal)")
HARMLESS = re.compile(
    r"(git clone|cd|vllm serve|accelerate launch|python3? -m venv|py -[\d.]+ -m venv|\.|source) |\.venv\S+activate$"
)
"""Set-up lines that have nothing to check."""


@dataclass(frozen=True)
class Block:
    """A fenced code block: its mark ("" without one), its language and its text."""

    mark: str
    language: str
    body: str

    @property
    def commands(self) -> list[str]:
        """The command lines of a shell block, continued lines joined; of a console block, those behind ``$``."""
        lines = re.sub(r"\\\n(> )?\s*", "", self.body).splitlines()
        if self.language == "console":
            return [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
        bare = [re.sub(r"(^|\s)#\s.*$", "", line).rstrip() for line in lines]
        return [line for line in bare if line]

    @property
    def meaning(self) -> object:
        """What must be equal in both languages: comments may be translated, commands not."""
        if self.language == "python":
            return ast.dump(ast.parse(self.body))
        return self.commands if self.language in SHELLS else None


def blocks_of(text: str) -> list[Block]:
    """All fenced blocks of a Markdown text."""
    found = [Block(match["mark"] or "", match["language"], match["body"]) for match in BLOCK.finditer(text)]
    assert text.count("```") == 2 * len(found), "a fence is indented or never closed: its block would not be tested"
    return found


def unmarked(blocks: list[Block]) -> list[str]:
    """Blocks of code that nobody said how to test, and marks that mean nothing."""
    code = [block for block in blocks if block.mark or block.language in {*SHELLS, "python"}]
    return [block.body for block in code if not MARK.fullmatch(block.mark)]


def missing_lines(expected: str, printed: str) -> list[str]:
    """Expected lines that do not follow each other in what was printed; numbers, spacing and … do not count."""

    def lines(text: str) -> list[str]:
        return [" ".join(re.sub(r"\d[\d.,]*", "0", line).split()) for line in text.splitlines()]

    rest = iter(lines(printed))
    return [line for line in lines(expected) if line not in ("", "…") and not any(line in other for other in rest)]


def run(arguments: list[str], folder: Path = ROOT) -> str:
    """What a command prints, once it has succeeded. `cinquain` and `python` are those of this environment."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "COLUMNS": "200"}
    done = subprocess.run(
        arguments, cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, f"{arguments}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def execute(block: Block, folder: Path) -> str:
    """Run a block as written; returns what it prints."""
    if block.language == "python":
        return run([sys.executable, "-c", block.body], folder)
    return run(["bash", "-euo", "pipefail", "-c", "\n".join(block.commands)], folder)


def dry_run(block: Block) -> None:
    """Check what is not executed: the targets, commands and options that it names must exist."""
    if block.language == "python":
        ast.parse(block.body)
        return
    for line in [part for command in block.commands for part in command.split(" && ")]:
        words = shlex.split(line.replace("\\", "/"))
        program = Path(words[0]).stem
        if program == "make":
            run(["make", "-n", *words[1:]])
        elif "pip" in (program, *words):
            assert "-c constraints.txt" in line, f"without its constraints pip may install anything: {line}"
        elif program == "cinquain":
            run([sys.executable, "-m", "apps.cli", *words[1:], "--help"])  # parses the line, then only prints
        else:
            assert HARMLESS.match(line), f"nothing checks this line: {line}"


README = blocks_of(ENGLISH.read_text(encoding="utf-8")) if ENGLISH.is_file() else []
RUN = [index for index, block in enumerate(README) if block.mark == "run"]
DRY = [block for block in README if block.mark.startswith(("setup", "dry-run"))]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the README's commands run: its texts are there to be read, and .venv is this environment."""
    place = tmp_path_factory.mktemp("readme")
    for path in (ENGLISH, CHINESE, ROOT / "LICENSE"):
        shutil.copy(path, place)
    (place / ".venv").symlink_to(sys.prefix)
    return place


def test_every_block_is_marked_and_both_languages_hold_the_same_commands() -> None:
    english, chinese = (blocks_of(path.read_text(encoding="utf-8")) for path in (ENGLISH, CHINESE))
    assert not unmarked(english) + unmarked(chinese)
    meanings = [[(b.mark, b.language, b.meaning) for b in blocks if b.mark] for blocks in (english, chinese)]
    assert meanings[0] == meanings[1]


@pytest.mark.model
@pytest.mark.parametrize("index", RUN)
def test_block_runs(index: int, folder: Path) -> None:
    printed = execute(README[index], folder)
    following = README[index + 1 : index + 2]
    if following and following[0].mark == "compare":
        assert not missing_lines(following[0].body, printed), printed


@pytest.mark.parametrize("block", DRY, ids=lambda block: block.commands[0] if block.commands else block.mark)
def test_block_passes_a_dry_run(block: Block) -> None:
    dry_run(block)


@pytest.mark.parametrize("path", [ENGLISH, CHINESE], ids=["en", "zh"])
def test_the_figures_of_real_runs_are_those_of_their_files(path: Path) -> None:
    from finetune.judging.results import table

    lines = path.read_text(encoding="utf-8").splitlines()
    assert table()
    assert set(table()) == {
        line for line in lines if re.match(r"\| (translation|summarization|dialogue|code|creative)_", line)
    }


SAMPLE = """# Sample
<!-- test: run -->
```bash
echo one \\
  two      # a remark
echo "took 0.37 s"
```
<!-- test: compare -->
```text
one   two
took 12 s
```
<!-- test: setup -->
```console
$ make help
output
$ pip install -c constraints.txt -e .
```
```python
print(1)
```
"""


def test_blocks_are_found_with_their_marks_and_commands() -> None:
    first, compare, setup, bare = blocks_of(SAMPLE)
    assert first.commands == ["echo one two", 'echo "took 0.37 s"']
    assert (compare.mark, setup.mark, bare.mark) == ("compare", "setup", "")
    assert setup.commands == ["make help", "pip install -c constraints.txt -e ."]
    assert unmarked(blocks_of(SAMPLE)) == ["print(1)\n"]
    assert unmarked([Block("dry-run because", "bash", "true\n")])


def test_a_block_is_executed_and_compared_without_its_numbers(tmp_path: Path) -> None:
    first, compare, *_ = blocks_of(SAMPLE)
    printed = execute(first, tmp_path)
    assert missing_lines(compare.body, printed) == []
    assert missing_lines("one two\nthree\n", printed) == ["three"]
    with pytest.raises(AssertionError):
        execute(Block("run", "bash", "false\ntrue\n"), tmp_path)


def test_a_dry_run_finds_what_does_not_exist() -> None:
    dry_run(blocks_of(SAMPLE)[2])
    for line in ("make nothing-of-the-kind", "pip install cinquain", "true && cinquain"):
        with pytest.raises(AssertionError):
            dry_run(Block("setup", "bash", line + "\n"))


def test_an_indented_fence_is_refused() -> None:
    with pytest.raises(AssertionError, match="indented"):
        blocks_of("- item\n  ```bash\n  true\n  ```\n")


def test_examples_with_translated_comments_are_the_same() -> None:
    assert Block("run", "python", "f(1)  # one\n").meaning == Block("run", "python", "f(1)  # 一\n").meaning
    assert Block("run", "bash", "ls # all\n").meaning == Block("run", "bash", "ls\n").meaning != ["ls -l"]
