"""Counting rhymes, made up by rule: text to learn from where no other can be had, the same for the same seed."""

import random
from collections.abc import Iterator
from typing import Any

__all__ = ["rhymes"]

_NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_ENDS = {
    1: ("in the sun", "and began to run", "just for fun", "with a currant bun"),
    2: ("when the cold wind blew", "in a wooden shoe", "by the river blue", "and away they flew"),
    3: ("under the tree", "beside the sea", "with a honey bee", "and had some tea"),
    4: ("behind the door", "on the kitchen floor", "along the shore", "and wanted more"),
    5: ("beside the hive", "and learned to dive", "the last to arrive", "on a country drive"),
    6: ("with a bundle of sticks", "on a pile of bricks", "and learned some tricks", "where the old clock ticks"),
    7: ("on the road to Devon", "at half past eleven", "under a starry heaven", "and baked with leaven"),
    8: ("on the garden gate", "and stayed up late", "with a silver plate", "and had to wait"),
    9: ("in the bright sunshine", "under the pine", "all in a line", "and felt just fine"),
    10: ("in the fox's den", "again and again", "with the old red hen", "and home by then"),
}
"""Number → ends of a line that rhyme with its name."""
_WHO = (
    "ducks", "cats", "mice", "frogs", "bears", "goats", "owls", "geese", "lambs", "foxes", "rabbits", "sparrows",
    "kittens", "puppies", "hedgehogs", "snails", "beetles", "ponies", "otters", "badgers", "crows", "moths",
    "squirrels", "turtles", "sailors", "tailors", "bakers", "drummers", "pipers", "giants",
)  # fmt: skip
_HOW = (
    "little", "hungry", "sleepy", "merry", "clever", "tiny", "brave", "quiet", "muddy", "happy", "silly", "speckled",
    "old", "gentle", "noisy", "shy", "lucky", "cold", "proud", "dusty",
)  # fmt: skip
_DO = ("sat", "danced", "slept", "sang", "hid", "played", "stood", "jumped", "rested", "laughed", "hopped", "waited")
_LEAVE = (
    "ran away",
    "went home",
    "fell asleep",
    "hid itself",
    "flew off",
    "lost its way",
    "said goodbye",
    "stayed behind",
)
_LAST = (
    "Then there were none, and the tale is done.",
    "None were left, and the moon came up.",
    "No one was there when the night came down.",
    "Now count them again, from one to ten.",
)
_TITLES = ("Write a counting rhyme about {how} {who}.", "Write a rhyme that counts {order} with {how} {who}.",
           "Count {order} with {how} {who}, in rhyme.")  # fmt: skip


def rhymes(count: int, seed: int = 0) -> Iterator[dict[str, Any]]:
    """Make up rhymes.

    Args:
        count: How many.
        seed: Which ones.

    Yields:
        Rows of creative writing: ``brief``, ``text``, ``form``, ``language``; ``doc`` says who is counted.
    """
    draw = random.Random(seed)
    for _ in range(count):
        who, how, down = draw.choice(_WHO), draw.choice(_HOW), draw.random() < 0.5
        first = draw.randint(1, 6)
        numbers = list(range(first, draw.randint(first + 2, 10) + 1))
        lines = _down(draw, numbers[::-1], how, who) if down else _up(draw, numbers, how, who)
        order = "down" if down else "up"
        brief = draw.choice(_TITLES).format(how=how, who=who, order=order)
        yield {"brief": brief, "text": "\n".join(lines), "form": "poem", "language": "en", "doc": f"{how} {who}"}


def _up(draw: random.Random, numbers: list[int], how: str, who: str) -> list[str]:
    return [f"{_line(draw, number, how, who)}{'.' if number == numbers[-1] else ','}" for number in numbers]


def _down(draw: random.Random, numbers: list[int], how: str, who: str) -> list[str]:
    lines = []
    for number in numbers:
        lines.append(f"{_line(draw, number, how, who)},")
        left = number - 1
        rest = f"and then there {'was' if left == 1 else 'were'} {_NUMBERS[left - 1]}." if left else "and that was all."
        lines.append(f"one {draw.choice(_LEAVE)}, {rest}")
    if numbers[-1] == 1:
        lines.append(draw.choice(_LAST))
    return lines


def _line(draw: random.Random, number: int, how: str, who: str) -> str:
    name = _NUMBERS[number - 1].capitalize()
    return f"{name} {how} {_counted(who, number)} {draw.choice(_DO)} {draw.choice(_ENDS[number])}"


def _counted(who: str, number: int) -> str:
    single = {"mice": "mouse", "geese": "goose", "foxes": "fox", "ponies": "pony", "puppies": "puppy"}
    return single.get(who, who.removesuffix("s")) if number == 1 else who
