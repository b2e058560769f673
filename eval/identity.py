"""What decides the replies of a run, and its hash: records are only ever read by a run that has the same one."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from eval.benchmarks import Benchmark
from pipelines.engines.in_process import InProcessEngine
from pipelines.generation import GenerationOptions
from pipelines.models.fingerprint import snapshot, weights_sha256
from pipelines.models.source import ModelSource
from pipelines.pipeline import Pipeline
from pipelines.provenance import environment

__all__ = ["identify", "key_of"]

SCHEMA_VERSION = 1

_NAMES = {"model", "adapter", "revision", "devices"}
"""How a local engine calls what its hashes say better: a folder that was moved is still the same model."""
_LEARNED = {"served", "fingerprints"}
"""What a remote engine knows only once it has been answered."""
_SPEED = {
    *("attention", "device", "dtype", "num_beams", "quantization"),  # the engine says what came of them
    *("backoff_s", "between_tokens_s", "concurrency", "connect_s", "first_token_s", "retries", "total_s"),
    *("price_completion", "price_prompt", "token_budget"),
}
"""Engine options that decide how fast replies come, or what they cost, and not what they are."""
_READ = (
    *("config.json", "generation_config.json", "tokenizer*.json", "special_tokens_map.json", "added_tokens.json"),
    *("chat_template*", "vocab*", "merges.txt", "*.model", "*.spm"),
)
"""Files beside the weights that decide what a model reads and writes."""


def identify(
    benchmark: Benchmark,
    pipeline: Pipeline,
    adapter: str | None,
    options: GenerationOptions,
    engine_options: Mapping[str, Any],
) -> dict[str, Any]:
    """What decides the replies, as plain JSON data.

    Args:
        benchmark: What is asked.
        pipeline: Of whom.
        adapter: Name of a loaded adapter, ``base``, or None.
        options: Complete generation options.
        engine_options: What the engine was loaded with.

    Raises:
        InputError: The model cannot do the task, or has no such adapter.
        CinquainError: The model's files cannot be read.
    """
    engine, prompt = pipeline.wording(adapter)
    said = engine.provenance()
    local = isinstance(engine, InProcessEngine)
    files = _hashes(engine.source) if isinstance(engine, InProcessEngine) else {}
    identity = {
        "schema_version": SCHEMA_VERSION,
        "benchmark": benchmark.name,
        "version": benchmark.version,
        "benchmark_sha256": benchmark.sha256,
        "task": benchmark.task,
        **files,
        "prompt_sha256": prompt.digest(engine.chat_template),
        "options": options.model_dump(exclude={"adapter"}),
        "engine_options": {name: value for name, value in engine_options.items() if name not in _SPEED},
        "engine": {name: value for name, value in said.items() if name not in (_NAMES if local else _LEARNED)},
        "cinquain": environment()["cinquain"],
    }
    return dict(json.loads(json.dumps(identity, default=str)))


def key_of(identity: Mapping[str, Any]) -> str:
    """SHA-256 over an identity."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def _hashes(source: ModelSource) -> dict[str, str]:
    """Of the weights, and of the files beside them; in a GGUF file the weights hold those."""
    weights = weights_sha256(source)
    folder = source.path or snapshot(source)
    digest = hashlib.sha256()
    if folder.is_dir():
        for path in sorted({path for pattern in _READ for path in folder.glob(pattern) if path.is_file()}):
            digest.update(f"{path.name}\0{path.stat().st_size}\0".encode() + path.read_bytes())
    return {"weights_sha256": weights, "tokenizer_sha256": digest.hexdigest()}
