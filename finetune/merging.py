"""An adapter made part of its base's weights, and the proof that the result still says the same.

Merging is one addition, yet the merged model is another one whenever the number format rounds, a layer was left out or
a tied weight was changed twice; users of every fine-tuning suite report such merges. So the merged folder is loaded
again from the disk and compared with base and adapter on rows, and a gate says whether it passed.
"""

import gc
import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from eval.statistics import compare
from finetune.data import DataConfig, Source
from finetune.data.rendering import Rendered, Renderer
from finetune.data.row import Row
from finetune.data.shapes import recognise
from finetune.data.sources import open_sources
from finetune.judging.answers import answers
from finetune.judging.card import merged_card
from finetune.judging.comparison import as_benchmark, held_out, reference_metrics
from finetune.training.prepared import rows_of
from pipelines.errors import InputError
from pipelines.home import disk_errors, require_space, write_atomically
from pipelines.models.fingerprint import MERGED_FILE_NAME, Fingerprint, read, write
from pipelines.models.progress import Progress
from pipelines.models.source import ModelSource

__all__ = ["Gate", "comparison_rows", "merge"]

SCHEMA_VERSION = 1
REPORT = "cinquain_merge.json"
_LOGIT_ROWS, _ANSWER_ROWS = 16, 32
_LIMITS = {"float32": 0.01, "bfloat16": 2.0, "float16": 0.5}
"""Largest difference of a logit that rounding explains, by number format. Logits are about 20; float32 keeps 7 digits
of the weights (0.0003 was seen on the embedded model), bfloat16 two to three."""
_AGREEMENT = {"float32": 0.95, "bfloat16": 0.5, "float16": 0.75}
"""Share of greedy replies that must be the same to the last letter. Two tokens that are nearly as likely may change
places, and then the rest of a reply is another one; the metric says whether it is a worse one."""


@dataclass(frozen=True)
class Gate:
    """What the comparison of adapter and merged model gave.

    Attributes:
        rows: Rows that both answered.
        dtype: Number format of the merged weights.
        logit_difference: Largest difference of a logit, where replies are written.
        logit_limit: The largest that rounding explains.
        agreement: Share of greedy replies that are the same.
        agreement_needed: The smallest that passes.
        metric: Leading metric of the task; empty where it has none.
        adapter_score: Score of base and adapter on these rows; None without a metric.
        merged_score: Score of the merged model.
        worse: Whether the merged model scores lower, beyond chance.
    """

    rows: int
    dtype: str
    logit_difference: float
    logit_limit: float
    agreement: float
    agreement_needed: float
    metric: str = ""
    adapter_score: float | None = None
    merged_score: float | None = None
    worse: bool = False

    @property
    def passed(self) -> bool:
        """Whether the merged model may stand for base and adapter."""
        return self.logit_difference <= self.logit_limit and self.agreement >= self.agreement_needed and not self.worse


def merge(
    adapter: Path, out: Path, rows: Sequence[Row], *, model: str | None = None, progress: Progress | None = None
) -> Gate:
    """Merge an adapter into its base and compare the two.

    The folder ``out`` appears at once and whole: weights, tokenizer with the chat template of the training, the
    fingerprint (so that it is served with the prompt it was trained with), and the gate's report. A merge that fails
    the gate is kept, for whoever wants to see why; its report says so.

    Args:
        adapter: Folder of the adapter.
        out: Folder of the merged model; must not exist, or be empty.
        rows: Held-out rows of the adapter's task to compare on.
        model: Reference of the base; the one in the adapter's fingerprint where None.
        progress: Shows the steps.

    Raises:
        InputError: The adapter has no fingerprint, is for another base or task, or ``out`` holds something.
        CinquainError: The disk is full.
    """
    from pipelines.engines.adapters.adapters import check_fingerprint
    from pipelines.models import resolve

    progress = progress or Progress(quiet=True)
    fingerprint = read(adapter)
    if fingerprint is None:
        raise InputError("merge_no_fingerprint", adapter=str(adapter))
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError("merge_out_exists", out=str(out))
    if not rows:
        raise InputError("merge_no_rows", task=fingerprint.task)
    source = resolve(model or fingerprint.base.reference)
    check_fingerprint(adapter, source)
    renderer = Renderer.load(source.reference, fingerprint.task, fingerprint.prompt)
    rendered = [renderer.render(row) for row in rows[:_LOGIT_ROWS]]
    with disk_errors(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        staged = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".tmp", dir=out.parent))
    try:
        progress.say("merge_merging", adapter=str(adapter))
        dtype, logits = _merged(source, adapter, fingerprint, renderer, rendered, staged)
        progress.say("merge_comparing", rows=min(len(rows), _ANSWER_ROWS))
        gate = _gate(source, adapter, fingerprint, rows, rendered, staged, dtype, logits)
        report = {"schema_version": SCHEMA_VERSION, "passed": gate.passed, **asdict(gate)}
        write_atomically(staged / REPORT, json.dumps(report, indent=1) + "\n")
        write_atomically(staged / "README.md", merged_card(fingerprint.base.reference, fingerprint.task, report))
        with disk_errors(out):
            if out.is_dir():
                out.rmdir()
            staged.chmod(0o755)
            staged.rename(out)
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    return gate


def comparison_rows(adapter: Path, named: Path | None = None) -> list[Row]:
    """Rows to compare on: those that were named, the adapter's own held-out ones, or the set that ships.

    Raises:
        InputError: ``merge_rows_missing``: there are none where they were said to be.
    """
    if named is not None and named.is_file():
        return list(rows_of(named))
    folder = named or adapter / "data"
    if found := held_out(folder, 64)[1]:
        return found
    if named is not None:
        raise InputError("merge_rows_missing", path=str(named))
    fingerprint = read(adapter)
    return _shipped(fingerprint.task) if fingerprint else []


def _shipped(task: str) -> list[Row]:
    """Rows of the training set that ships: no held-out ones, and good enough to see whether two models agree."""
    config = DataConfig(task=task, sources=[Source(path=f"shipped:{task}")])
    found: list[Row] = []
    for opened in open_sources(list(config.sources)):
        for record in opened.records():
            found += recognise(record, opened.source, task).rows
    return found[:64]


def _merged(
    source: ModelSource,
    adapter: Path,
    fingerprint: Fingerprint,
    renderer: Renderer,
    rendered: Sequence[Rendered],
    folder: Path,
) -> tuple[str, list[Any]]:
    """Write the merged model; returns its number format and the logits before merging."""
    from finetune.training.adapter import with_saved_adapter
    from pipelines.models.conversion import quiet_transformers, save_model

    with quiet_transformers():
        base = _loaded(source)
        dtype = str(next(base.parameters()).dtype).removeprefix("torch.")
        require_space(folder, 2 * sum(weights.numel() * weights.element_size() for weights in base.parameters()))
        model: Any = with_saved_adapter(base, adapter)
        logits = [_logits(model, row) for row in rendered]
        model = model.merge_and_unload(safe_merge=True)  # it refuses weights that are not finite
        model.config._name_or_path = ""
        tokenizer = renderer.tokenizer
        if fingerprint.chat_template:
            tokenizer.chat_template = fingerprint.chat_template
        tokenizer.model_max_length = renderer.context
        with disk_errors(folder):
            save_model(model, tokenizer, folder)
    write(folder, fingerprint, MERGED_FILE_NAME)
    del model, base
    gc.collect()
    return dtype, logits


def _gate(
    source: ModelSource,
    adapter: Path,
    fingerprint: Fingerprint,
    rows: Sequence[Row],
    rendered: Sequence[Rendered],
    staged: Path,
    dtype: str,
    logits: list[Any],
) -> Gate:
    from pipelines import pipeline

    merged = _loaded(ModelSource(str(staged), "folder", staged))
    difference = max(
        float((_logits(merged, row) - before).abs().max()) for row, before in zip(rendered, logits, strict=True)
    )
    del merged
    gc.collect()
    chosen = rows[:_ANSWER_ROWS]
    texts: list[list[str]] = []
    with tempfile.TemporaryDirectory() as folder:
        for reference, own in ((source.reference, str(adapter)), (str(staged), None)):
            asked = pipeline(fingerprint.task, reference, own, dtype=dtype)
            found = answers(asked, [row.request for row in chosen], Path(folder))
            texts.append([answer.text for answer in found])
            asked.engine.close()
    same = sum(one == two for one, two in zip(*texts, strict=True)) / len(chosen)
    gate = Gate(len(chosen), dtype, difference, _LIMITS[dtype], same, _AGREEMENT[dtype])
    metrics = reference_metrics(fingerprint.task)
    if not metrics:
        return gate
    leading = metrics[0]
    one, two = (leading.statistics(side, as_benchmark(fingerprint.task, chosen)) for side in texts)
    found_difference = compare(one, two, leading.of_sum)
    return Gate(
        **{
            **asdict(gate),
            "metric": leading.name,
            "adapter_score": found_difference.first,
            "merged_score": found_difference.second,
            "worse": found_difference.verdict == "lower",
        }
    )


def _loaded(source: ModelSource) -> Any:
    """The model in the number format of its files, on the CPU, where every machine has room for it."""
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

    from pipelines.engines.seq2seq.loading import is_encoder_decoder

    kind = AutoModelForSeq2SeqLM if is_encoder_decoder(source) else AutoModelForCausalLM
    return kind.from_pretrained(**source.arguments(), dtype="auto").eval()


def _logits(model: Any, row: Rendered) -> Any:
    """Logits where the reply is written, float32, shape (tokens of the reply, vocabulary)."""
    import torch

    tokens = torch.tensor([row.tokens])
    with torch.inference_mode():
        if row.encoder is None:
            found = model(input_ids=tokens).logits
        else:
            found = model(input_ids=torch.tensor([row.encoder]), decoder_input_ids=tokens).logits
    return found[0, :-1][torch.tensor(row.labels[1:])].float()
