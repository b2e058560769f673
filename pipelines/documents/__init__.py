"""Documents: read for a summary, or translated with their structure kept and given back in the same format."""

from pipelines.documents.guarded import READABLE, TRANSLATABLE, extract, fill
from pipelines.documents.translating import TranslatedDocument, translate_document

__all__ = ["READABLE", "TRANSLATABLE", "TranslatedDocument", "extract", "fill", "translate_document"]
