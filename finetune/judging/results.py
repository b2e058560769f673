"""The public figures of a finished adapter: ``python -m finetune.judging.results ADAPTER NAME``.

They go into ``finetune/results/NAME.json``: what was trained on what, how it did against its base, on which machine
with which versions. Numbers and hashes only: no text of a row, no path of a machine.
"""

import json
import sys
from pathlib import Path, PurePath
from typing import Any

from finetune.data.results import finished
from pipelines.errors import InputError
from pipelines.home import write_atomically

__all__ = ["RESULTS", "public_name", "public_results", "table", "write_results"]

RESULTS = Path(__file__).resolve().parent.parent / "results"
SCHEMA_VERSION = 1
_RUN = ("steps", "best_step", "loss", "validation_loss", "base_validation_loss", "trainable", "dtype", "processes")
_MACHINE = ("cinquain", "python", "system", "processor", "cores", "packages")


def public_results(adapter: Path) -> dict[str, Any]:
    """What may be shown of a finished adapter folder.

    Args:
        adapter: What ``cinquain finetune`` wrote.

    Raises:
        InputError: ``results_missing``: it is not finished, or nothing was compared.
    """
    try:
        figures = json.loads((adapter / "training.json").read_bytes())
        judgement = json.loads((adapter / "judgement.json").read_bytes())
    except (OSError, ValueError) as error:
        raise InputError("results_missing", path=str(adapter)) from error
    ledger = finished(adapter / "data")
    if ledger is None:
        raise InputError("results_missing", path=str(adapter))
    recipe = figures["recipe"]
    for source in recipe["data"]["sources"]:
        source["path"] = public_name(source["path"])
    recipe["data"]["overlap"] = [public_name(path) for path in recipe["data"]["overlap"]]
    recipe["output"], recipe["model"] = public_name(recipe["output"]), public_name(recipe["model"])
    recipe["data"]["model"] = recipe["model"]
    judgement["copying"].pop("text")
    return {
        "schema_version": SCHEMA_VERSION,
        "recipe": recipe,
        "base_sha256": figures["base_sha256"],
        "training": {name: figures[name] for name in _RUN},
        "preflight": figures["preflight"],
        "data": {**figures["data"], "read": ledger.read, "kept": ledger.kept},
        "judgement": judgement,
        "machine": {name: figures[name] for name in _MACHINE},
    }


def write_results(adapter: Path, name: str, folder: Path = RESULTS) -> Path:
    """Write ``NAME.json``; see ``public_results``."""
    path = folder / f"{name}.json"
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(public_results(adapter), ensure_ascii=False, indent=1) + "\n")
    return path


def table(folder: Path = RESULTS) -> list[str]:
    """Markdown rows for a README: name, metric, rows, base, adapter, interval of the difference, p-value."""
    lines = []
    for path in sorted(folder.glob("*.json")):
        found = json.loads(path.read_bytes())
        for metric in found["judgement"]["metrics"]:
            compared, interval = metric["comparison"], metric["comparison"]["interval"]
            lines.append(
                f"| {path.stem} | {metric['name']} | {compared['rows']} | {compared['first']:.2f} | "
                f"{compared['second']:.2f} | {interval['low']:+.2f} to {interval['high']:+.2f} | "
                f"{metric['adjusted_p_value']:.2g} |"
            )
    return lines


def public_name(path: str) -> str:
    """Names stay, folders of a machine go."""
    return PurePath(path).name if "/" in path and PurePath(path).is_absolute() else path


if __name__ == "__main__":
    print(write_results(Path(sys.argv[1]), sys.argv[2]))  # noqa: T201
    print("\n".join(table()))  # noqa: T201
