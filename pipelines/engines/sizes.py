"""How the local engine cuts prompts and lays out its cache: what estimates of memory count with, without torch."""

__all__ = ["PREFILL_CHUNK", "SPARE"]

PREFILL_CHUNK = 256
"""Prompt tokens of all rows that are read in one forward pass. A pass cannot be interrupted, and Stop has to work
while a long prompt is still being read: this many take 0.45 s with the embedded model on two cores without bfloat16
instructions. Matrix products are at full speed from about 128 rows on."""

SPARE = 64
"""Tokens of room that a new layer has beyond its first states."""
