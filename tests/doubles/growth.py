"""Run as a program: how much a process grows by loading a model and generating with it. Linux only.

    python tests/doubles/growth.py FOLDER_OR_GGUF OPTIONS WORDS NEW_TOKENS

Libraries do not count, nor the kernels that oneDNN builds for each shape in bfloat16 (65 MB for a model of 42 MB): a
tiny model goes through the same code first, and in bfloat16 the model itself. Writes one JSON object with bytes and
tokens.
"""

import ctypes
import gc
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from pipelines.engines.base import Call, Completion
from pipelines.engines.local import LocalEngine
from pipelines.generation import GenerationOptions
from pipelines.models.source import ModelSource
from tests.doubles.tiny import tiny_llama, tiny_tokenizer


def memory(name: str) -> int:
    """A line of /proc/self/status, in bytes: VmRSS is what is held, VmHWM the most since ``forget_peak``."""
    status = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in status if line.startswith(f"{name}:"))


def forget_peak() -> None:
    """Begin a new VmHWM."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def generate(engine: LocalEngine, words: int, new_tokens: int) -> Completion:
    """One greedy reply to a text of many words."""
    options = GenerationOptions(max_new_tokens=new_tokens, temperature=0.0)
    *_, completion = engine.stream(Call([{"role": "user", "content": "word " * words}], options))
    assert isinstance(completion, Completion)
    return completion


def main(model: str, options: dict[str, Any], words: int, new_tokens: int) -> dict[str, Any]:
    """Measure one model."""
    with tempfile.TemporaryDirectory() as name:
        tokenizer = tiny_tokenizer(["Hello there."], vocabulary=300)
        tiny_llama(len(tokenizer)).save_pretrained(name)
        tokenizer.save_pretrained(name)
        engine = LocalEngine(ModelSource("tiny", "folder", Path(name)), **options)
        generate(engine, 100, 20)
        builds_kernels = engine.choice.dtype == "bfloat16"
        engine.close()
        del engine
    path = Path(model)
    source = ModelSource("measured", "gguf" if path.is_file() else "folder", path)
    if builds_kernels:
        engine = LocalEngine(source, **options)
        generate(engine, words, new_tokens)
        engine.close()
        del engine
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    forget_peak()
    before = memory("VmRSS")
    engine = LocalEngine(source, **options)
    loading = memory("VmHWM") - before
    forget_peak()
    completion = generate(engine, words, new_tokens)
    return {
        "loading": loading,
        "generating": memory("VmHWM") - before,
        "tokens": completion.prompt_tokens + completion.completion_tokens,
        "device": engine.choice.device,
        "dtype": engine.choice.dtype,
        "one_row": engine.choice.one_row,
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))) + "\n")
