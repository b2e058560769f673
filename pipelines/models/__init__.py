"""Models: what a reference names, the embedded model, the cache."""

from pipelines.models.reference import resolve, resolve_adapter
from pipelines.models.source import ModelSource

__all__ = ["ModelSource", "resolve", "resolve_adapter"]
