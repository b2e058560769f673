"""Killed at any stage, and started again by the same command: the same curves and the same weights, to the last bit."""

import json
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.doubles.pretraining import curves, small_recipe

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL and fork")

ROOT = Path(__file__).parent.parent

# Each try is a child of one process that has everything loaded. A child ends itself, by SIGKILL, in the middle of the
# n-th thing that it does to a file of its run.
PROGRAM = """
import json, os, signal, sys
from pathlib import Path
from finetune.pretraining.recipe import PretrainRecipe
from finetune.pretraining.run import pretrain
# Loaded once, and not by each child.
import accelerate, ftfy, phonenumbers, py3langid, rensa, sentencex, syllapy, transformers
from transformers import AutoConfig, AutoTokenizer, GenerationConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from transformers.models.llama import modeling_llama
import finetune.data.prepare, pipelines.engines.seq2seq.loading, pipelines.models.llama_format

recipe, out, shares = PretrainRecipe.model_validate_json(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3])

def child(name, kill_at=0, action=signal.SIGKILL, only=""):
    folder, seen, stages = str(out / name), 0, {}
    def watch(event, arguments):
        nonlocal seen
        if event in ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "shutil.rmtree"):
            if folder in (told := repr(arguments)) and only in told:
                seen += 1
                for word in ("sources", "documents", "tokenizer", "blocks", "checkpoints-text", "pretrained", "chats",
                             "checkpoints-chat", "answering", "pretraining.json"):
                    if f"/{word}" in told:
                        stages.setdefault(word, seen)
                if seen == kill_at:
                    os.kill(os.getpid(), action)
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    sys.addaudithook(watch)
    code = 0
    try:
        pretrain(recipe.model_copy(update={"output": str(out / name)}))
    except KeyboardInterrupt:
        code = 130
    except Exception as error:
        print(f"{name}: {error}", file=sys.stderr)
        code = 1
    (out / f"{name}.events").write_text(json.dumps([seen, stages]))
    os._exit(code)

assert child("whole") == 0
events, stages = json.loads((out / "whole.events").read_text())
result = {"events": events, "stages": stages, "ends": []}
for number, share in enumerate(shares):
    name, kill = f"killed{number}", round(share * events) if isinstance(share, float) else stages[share] + 2
    # The second kill falls into what the first left.
    result["ends"].append([child(name, kill), child(name, 15 + 9 * number), child(name)])
end = child("stopped", 5, signal.SIGINT, only="pretraining_log")
result["stopped"] = [end, (out / "stopped" / "config.json").exists(), child("stopped")]
print(json.dumps(result))
"""
SHARES = ["documents", "checkpoints-text", "chats", 0.995]
MORE = [
    "sources", "tokenizer", "blocks", "pretrained", "checkpoints-chat", "answering",
    *(random.Random(3).uniform(0.1, 0.99) for _ in range(4)),
]  # fmt: skip


def run(out: Path, shares: list[str | float]) -> tuple[Path, dict[str, Any], str]:
    """Folder of all runs, how they ended, and what was said."""
    recipe = small_recipe(out / "whole", training__max_steps=12, training__evaluate=4, chat__max_steps=4)
    command = [sys.executable, "-c", PROGRAM, recipe.model_dump_json(), str(out), json.dumps(shares)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return out, json.loads(done.stdout.splitlines()[-1]), done.stderr


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], str]:
    return run(tmp_path_factory.mktemp("runs"), list(SHARES))


def same(first: Path, second: Path) -> None:
    """The same curves, figures and weights, and nothing left over."""
    assert curves(first) == curves(second)
    for name in ("model.safetensors", "tokenizer.json", "documents.json", "config.json"):
        assert (first / name).read_bytes() == (second / name).read_bytes(), name
    figures = [json.loads((out / "pretraining.json").read_bytes()) for out in (first, second)]
    for each in figures:
        del each["recipe"], each["command"]
    assert figures[0] == figures[1]
    assert {path.name for path in first.iterdir()} == {path.name for path in second.iterdir()}


@pytest.mark.parametrize("number", range(len(SHARES)), ids=[str(share) for share in SHARES])
def test_killed_anywhere_it_goes_on_to_the_same_weights(runs: tuple[Path, dict[str, Any], str], number: int) -> None:
    out, result, errors = runs
    assert result["ends"][number][0] == -signal.SIGKILL, errors
    assert result["ends"][number][-1] == 0, errors
    same(out / f"killed{number}", out / "whole")


def test_ctrl_c_saves_and_the_same_command_goes_on(runs: tuple[Path, dict[str, Any], str]) -> None:
    out, result, errors = runs
    assert result["stopped"] == [130, False, 0], errors
    same(out / "stopped", out / "whole")


@pytest.mark.slow
def test_killed_anywhere_else_it_goes_on_too(tmp_path: Path) -> None:
    out, result, errors = run(tmp_path, list(MORE))
    for number, ends in enumerate(result["ends"]):
        assert (ends[0], ends[-1]) == (-signal.SIGKILL, 0), errors
        same(out / f"killed{number}", out / "whole")
