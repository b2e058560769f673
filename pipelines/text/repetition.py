"""Whether a text ends in a circle: one passage again and again, as small models write when nothing stops them."""

from dataclasses import dataclass

__all__ = ["Circle", "repeated_end"]

LEAST_TIMES = 4
"""Times that a passage must stand at the end. A refrain comes twice, a chorus perhaps three times in a row."""

LEAST_CHARACTERS = 160
"""Characters that the repetitions must cover: some forty tokens, so that "ha ha ha ha" is no circle."""

LONGEST = 1000
"""Characters of the longest passage that is looked for."""


@dataclass(frozen=True)
class Circle:
    """What a text repeats at its end.

    Attributes:
        passage: What is repeated, from where the repetition begins.
        times: How often it stands there as a whole.
    """

    passage: str
    times: int


def repeated_end(text: str) -> Circle | None:
    """The shortest passage that the end of a text consists of, the last one perhaps cut short; None where it does not.

    Passages without a letter do not count: rules, empty lines, rows of zeros and dots are what some texts are made of.
    """
    for size in range(1, min(LONGEST, len(text) // LEAST_TIMES) + 1):
        covered = max(LEAST_CHARACTERS, LEAST_TIMES * size)
        if covered > len(text) or text[-covered:-size] != text[size - covered :]:
            continue
        begin = len(text) - covered
        while begin > 0 and text[begin - 1] == text[begin - 1 + size]:
            begin -= 1
        # What came before may share the last letters of the passage by chance; a word is a better place to begin.
        begin += next((place + 1 for place in range(size) if begin and text[begin + place].isspace()), 0)
        passage = text[begin : begin + size]
        if not any(character.isalpha() for character in passage):
            return None
        return Circle(passage.strip(), (len(text) - begin) // size)
    return None
