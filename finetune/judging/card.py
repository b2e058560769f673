"""The model card of an adapter: what it is, whether it helped, what it was trained on, how to use it.

Numbers only: no text of any row goes into it, as a card is made to be published.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from finetune.data.ledger import Ledger
from finetune.judging.canaries import Exposure
from finetune.judging.judgement import Judgement, MetricResult
from finetune.judging.results import public_name
from finetune.recipe import Recipe
from pipelines.home import write_atomically
from pipelines.models.embedded import EMBEDDED
from pipelines.wording import sentence

__all__ = ["card", "front_matter", "licence_of", "merged_card", "write_card"]


def write_card(
    folder: Path,
    recipe: Recipe,
    figures: dict[str, Any],
    ledger: Ledger,
    judgement: Judgement | None,
    exposure: Exposure | None,
) -> Path:
    """Write ``README.md`` beside the adapter; see ``card``."""
    path = folder / "README.md"
    write_atomically(path, card(folder.resolve().name, recipe, figures, ledger, judgement, exposure))
    return path


def card(
    name: str,
    recipe: Recipe,
    figures: dict[str, Any],
    ledger: Ledger,
    judgement: Judgement | None,
    exposure: Exposure | None,
) -> str:
    """The card, in Markdown with the Hub's front matter.

    Args:
        name: How the adapter is called.
        recipe: What was asked for.
        figures: What ``training.json`` holds.
        ledger: The account of the rows.
        judgement: Base against adapter; None where nothing was compared.
        exposure: Of planted secrets; None where none were planted.
    """
    kept = {part: entry.rows for part, entry in ledger.splits.items() if entry.rows}
    return "\n".join(
        [
            front_matter(
                recipe.model,
                ["cinquain", recipe.adapter.kind, recipe.task],
                library="peft",
                results=_results(name, recipe.task, judgement),
            ),
            f"# {name}",
            "",
            f"A {_kind(recipe)} adapter for {recipe.task.replace('_', ' ')}, trained on `{recipe.model}` "
            f"(weights {figures['base_sha256'][:16]}…) with Cinquain.",
            "",
            "## Does it help?",
            "",
            *(_judged(judgement) if judgement else ["Not compared with its base: no rows were held out for that."]),
            "",
            *_remembers(judgement, exposure),
            "## How it was trained",
            "",
            *_table(("", ""), _training(recipe, figures)),
            "",
            *(["![Loss of training and held-out rows](loss.png)", ""] if figures.get("plot") else []),
            "## On what",
            "",
            f"{ledger.read:,} records were read and {ledger.kept:,} rows written "
            f"({', '.join(f'{part} {rows:,}' for part, rows in kept.items())}); the rest was dropped for these "
            "reasons, and every record is accounted for in the ledger.",
            "",
            *_table(("step and reason", "rows"), [(reason, f"{n:,}") for reason, n in ledger.dropped().most_common()]),
            "",
            "## How to use it",
            "",
            "```bash",
            f"cinquain run {recipe.task} … --model {recipe.model} --adapter {name}",
            f"cinquain merge {name} {name}-merged",
            "```",
            "",
            "It is served with the prompt and the chat template that it was trained with, which are stored in "
            "`cinquain_adapter.json`, and refused on another base.",
            "",
            "## Where the numbers come from",
            "",
            *_table(("", ""), _origin(figures, ledger, judgement)),
            "",
        ]
    )


def front_matter(model: str, tags: Sequence[str], *, library: str, results: Mapping[str, Any] | None = None) -> str:
    """The metadata that the Hub reads of a card: the base, its licence where it is known, and results.

    Args:
        model: Reference of the base model.
        tags: What it can be found by.
        library: What loads it.
        results: Further entries, such as ``model-index`` (https://huggingface.co/docs/hub/model-cards).
    """
    import yaml

    licence = licence_of(model)
    data = {
        "base_model": public_name(model), "library_name": library, "tags": [*tags],
        **({"license": licence} if licence else {}), **(results or {}),
    }  # fmt: skip
    return f"---\n{yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=1000)}---\n"


def licence_of(model: str) -> str:
    """The licence of a model that ships or stands in the catalog, as the Hub writes it; "" where it is not known."""
    from pipelines.models.catalog import entries

    if embedded := EMBEDDED.get(model):
        return embedded.licence.lower()
    name = model.partition("@")[0]
    return next((each.licence.lower() for each in entries().values() if name in (each.alias, each.hub_id)), "")


def merged_card(model: str, task: str, figures: Mapping[str, Any]) -> str:
    """The card of a model that an adapter was merged into.

    Args:
        model: Reference of the base model.
        task: What the adapter was trained for.
        figures: What ``cinquain_merge.json`` holds.
    """
    rows: list[tuple[str, str]] = [
        ("rows", str(figures["rows"])),
        ("number format", figures["dtype"]),
        ("largest difference of a logit", f"{figures['logit_difference']:.4g} (limit {figures['logit_limit']:.4g})"),
        ("same replies", f"{figures['agreement']:.0%} (at least {figures['agreement_needed']:.0%})"),
    ]
    if figures["adapter_score"] is not None:
        scores = f"{figures['merged_score']:.2f} (base and adapter: {figures['adapter_score']:.2f})"
        rows.append((figures["metric"], scores))
    return "\n".join(
        [
            front_matter(model, ["cinquain", "merged", task], library="transformers"),
            f"# {public_name(model)}, merged with an adapter for {task.replace('_', ' ')}",
            "",
            "One model of base and adapter, by Cinquain, served with the prompt that the adapter was trained with "
            "(`cinquain_merged.json`). Before it was let through, it was loaded again and compared with the two:",
            "",
            *_table(("", ""), rows),
            "",
        ]
    )


def _results(name: str, task: str, judgement: Judgement | None) -> dict[str, Any]:
    """Scores of the adapter on the held-out rows, in the form that the Hub shows beside a model."""
    if judgement is None:
        return {}
    data = {"name": f"{judgement.rows} held-out rows of its training data", "type": "cinquain-held-out"}
    metrics = [{"type": each.name, "value": round(each.comparison.second, 4)} for each in judgement.metrics]
    result = {"task": {"type": "text-generation", "name": task}, "dataset": data, "metrics": metrics}
    return {"model-index": [{"name": name, "results": [result]}]}


def _judged(judgement: Judgement) -> Iterable[str]:
    yield sentence(judgement.verdict, "en")
    yield ""
    baselines = sorted({name for metric in judgement.metrics for name in metric.baselines})
    yield from _table(
        ("metric", "base", "adapter", "difference (95 % interval)", "p", "verdict", *baselines),
        [_row(metric, baselines) for metric in judgement.metrics],
    )
    yield ""
    yield (
        f"{judgement.rows} rows of the {judgement.part} part, answered greedily by both; intervals by paired "
        "bootstrap, p-values by approximate randomization with Holm's correction. `copy` is the source as it is, "
        "`lead` its first three sentences, `majority` the commonest reply of the training rows."
    )
    if any(judgement.failed) or any(judgement.cut):
        yield (
            f"No answer (counted as empty): base {judgement.failed[0]}, adapter {judgement.failed[1]} rows. Cut at the "
            f"limit of tokens: base {judgement.cut[0]}, adapter {judgement.cut[1]}."
        )


def _row(metric: MetricResult, baselines: Sequence[str]) -> tuple[str, ...]:
    found = metric.comparison
    return (
        metric.name,
        f"{found.first:.2f}",
        f"{found.second:.2f}",
        f"{found.difference:+.2f} ({found.interval.low:+.2f} to {found.interval.high:+.2f})",
        f"{metric.adjusted_p_value:.2g}",
        metric.verdict.replace("_", " "),
        *(f"{metric.baselines[name]:.2f}" if name in metric.baselines else "" for name in baselines),
    )


def _remembers(judgement: Judgement | None, exposure: Exposure | None) -> Iterable[str]:
    if judgement is None and exposure is None:
        return
    yield "## What it remembers"
    yield ""
    if judgement:
        copying = judgement.copying
        yield (
            f"The longest span that a reply shares with a training row, and not with its request: {copying.longest} "
            f"words; on average {copying.mean} (base, which never saw the rows: {copying.base_mean})."
        )
    if exposure:
        yield (
            f"{exposure.secrets} secrets were planted, once each. Exposure among {exposure.candidates} codes: "
            f"{exposure.adapter} bits on average, {exposure.most} at most (base: {exposure.base}; 1 bit is chance)."
        )
    yield ""


def _training(recipe: Recipe, figures: dict[str, Any]) -> list[tuple[str, str]]:
    config, adapter = recipe.training, recipe.adapter
    return [
        ("rank, alpha, dropout", f"{adapter.rank}, {adapter.alpha:g}, {adapter.dropout:g}"),
        ("targets", adapter.targets if isinstance(adapter.targets, str) else ", ".join(adapter.targets)),
        ("base quantized to", adapter.quantization or "not at all"),
        ("learning rate", f"{config.learning_rate:g}, {config.schedule}, {config.warmup:.0%} warm-up"),
        ("rows of a step", str(config.batch_size)),
        ("steps, best one", f"{figures['steps']}, {figures['best_step']}"),
        ("loss of training rows", _number(figures.get("loss"))),
        (
            "loss of held-out rows",
            f"{_number(figures.get('base_validation_loss'))} → {_number(figures.get('validation_loss'))}",
        ),
        ("trained weights", f"{figures['trainable']:,}"),
        ("device", f"{figures['device']}, {figures['dtype']}, {figures['processes']} process(es)"),
        ("seed", str(config.seed)),
    ]


def _origin(figures: dict[str, Any], ledger: Ledger, judgement: Judgement | None) -> list[tuple[str, str]]:
    return [
        ("base weights", figures["base_sha256"]),
        ("rows", ledger.result_sha256),
        *([("held-out rows", judgement.rows_sha256)] if judgement else []),
        *[(f"metric {metric.name}", metric.signature) for metric in (judgement.metrics if judgement else ())],
        ("packages", ", ".join(f"{name} {version}" for name, version in figures["packages"].items())),
    ]


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [f"| {' | '.join(_cell(cell) for cell in row)} |" for row in rows]
    return [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}", *lines] if lines else []


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _kind(recipe: Recipe) -> str:
    names = {"lora": "LoRA", "rslora": "rank-stabilised LoRA", "dora": "DoRA"}
    return (
        f"{recipe.adapter.quantization} {names[recipe.adapter.kind]}"
        if recipe.adapter.quantization
        else names[recipe.adapter.kind]
    )


def _number(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.4f}"
