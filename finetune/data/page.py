"""ledger.html: the ledger as a page for a person, with samples of what was changed and dropped.

The page is one file that fetches nothing and runs nothing: its content security policy allows no more than its own
style, by hash. Every text in it comes from rows of strangers and is escaped.
"""

import base64
import hashlib
import json
import re
from functools import cache
from pathlib import Path
from typing import Any

from finetune.data.ledger import Ledger
from pipelines.generation import Note
from pipelines.wording import sentence, sentences

__all__ = ["render"]

_TEMPLATE = Path(__file__).with_name("page.html")


def render(ledger: Ledger, samples: dict[str, list[dict[str, Any]]], language: str = "en") -> str:
    """The page.

    Args:
        ledger: The ledger.
        samples: What each step changed and dropped: ``<step>.<kind>`` → rows with ``id``, ``before``, ``after`` (None
            for a dropped row) and ``details``.
        language: ``en`` or ``zh``.
    """
    language = "zh" if language.lower().startswith("zh") else "en"

    def say(name: str, **parameters: Any) -> str:
        return sentence(Note(f"data_page_{name}", parameters), language)

    def explained(kind: str) -> str:
        """What a step, a reason or a kind of change means; empty where nobody has written it down."""
        code = f"data_means_{kind}"
        return sentence(Note(code), language) if code in sentences() else ""

    changes = {f"{name}.{kind}": n for name, step in ledger.steps.items() for kind, n in sorted(step.changes.items())}
    return str(
        _template().render(
            ledger=ledger,
            changes=changes,
            samples=samples,
            language="zh-Hans" if language == "zh" else "en",
            say=say,
            explained=explained,
            style_sha256=_style_sha256(),
            config=json.dumps(ledger.config, ensure_ascii=False, indent=2),
            provenance=json.dumps(ledger.provenance, ensure_ascii=False, indent=2),
        )
    )


@cache
def _template() -> Any:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["number"] = "{:,}".format
    return environment.from_string(_TEMPLATE.read_text(encoding="utf-8"))


@cache
def _style_sha256() -> str:
    found = re.search(r"<style>(.*?)</style>", _TEMPLATE.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    return base64.b64encode(hashlib.sha256(found[1].encode()).digest()).decode()
