"""Both losses as curves in a PNG, drawn with Pillow, which the web app brings along: no plotting library is needed."""

import io
import math
from pathlib import Path
from typing import Any

from pipelines.home import write_atomically

__all__ = ["draw"]

_SIZE = (960, 540)
_LEFT, _TOP, _RIGHT, _BOTTOM = 90, 50, 30, 60
_GRID, _INK, _TRAIN, _HELD_OUT = "#dddddd", "#222222", "#8fb7dc", "#c0392b"


def draw(entries: list[dict[str, Any]], path: Path) -> None:
    """Draw the log of a run; nothing where there is none yet.

    Args:
        entries: Lines of the log.
        path: The PNG; it appears whole, or the old one stays.

    Raises:
        CinquainError: The disk is full or refuses.
    """
    from PIL import Image, ImageDraw, ImageFont

    train = [(entry["step"], entry["loss"]) for entry in entries if "loss" in entry]
    held_out = [(entry["step"], entry["eval_loss"]) for entry in entries if "eval_loss" in entry]
    values = [value for _, value in train + held_out if math.isfinite(value)]
    if not values:
        return
    image = Image.new("RGB", _SIZE, "white")
    pen, font = ImageDraw.Draw(image), ImageFont.load_default(16)
    last, low, high = max(step for step, _ in train + held_out) or 1, 0.0, max(values) * 1.05 or 1.0
    width, height = _SIZE[0] - _LEFT - _RIGHT, _SIZE[1] - _TOP - _BOTTOM

    def place(step: float, value: float) -> tuple[float, float]:
        return _LEFT + width * step / last, _TOP + height * (high - min(value, high)) / (high - low)

    for value in _marks(high):
        _, y = place(0, value)
        pen.line([(_LEFT, y), (_LEFT + width, y)], fill=_GRID)
        pen.text((_LEFT - 10, y), f"{value:g}", fill=_INK, font=font, anchor="rm")
    for step in _marks(last):
        x, _ = place(step, low)
        pen.text((x, _TOP + height + 12), f"{step:g}", fill=_INK, font=font, anchor="ma")
    pen.text((_LEFT + width, _TOP + height + 34), "step", fill=_INK, font=font, anchor="ra")
    for curve, colour, thick in ((train, _TRAIN, 2), (held_out, _HELD_OUT, 3)):
        points = [place(step, value) for step, value in curve if math.isfinite(value)]
        if len(points) > 1:
            pen.line(points, fill=colour, width=thick, joint="curve")
        if curve is held_out:
            for x, y in points:
                pen.ellipse([x - 4, y - 4, x + 4, y + 4], fill=colour)
    pen.text((_LEFT, 18), "training loss", fill=_TRAIN, font=font)
    if held_out:
        pen.text((_LEFT + 160, 18), "loss of held-out rows", fill=_HELD_OUT, font=font)
    content = io.BytesIO()
    image.save(content, "PNG")
    write_atomically(path, content.getvalue())


def _marks(high: float) -> list[float]:
    """Round numbers from 0 to ``high``, about five of them."""
    rough = high / 5
    scale = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * scale for factor in (1, 2, 5, 10) if factor * scale >= rough)
    return [number * step for number in range(int(high / step) + 1)]
