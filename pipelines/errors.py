"""Failures that a person can act on: a code with parameters, one sentence at the edge.

    CinquainError          exit code 1: the run failed (disk, network, a broken cache)
    ├── InputError         exit code 2: what was asked for cannot be done (a field, a file, a model reference)
    └── UnavailableError   exit code 1: what answers cannot be had now, for this or any other request

Nothing here knows a language: ``pipelines.wording`` turns a code into a sentence, English or Chinese, where it is
shown.
"""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

__all__ = ["CinquainError", "InputError", "UnavailableError", "nearest"]


class CinquainError(Exception):
    """A failure with a way out: what was expected, what was found, what to do.

    Attributes:
        code: Key of the sentence in ``pipelines/wording``.
        parameters: Values that the sentence shows.
        exit_code: What the command line exits with: 1, a run that failed.
    """

    exit_code = 1

    def __init__(self, code: str, **parameters: Any) -> None:
        super().__init__(code, parameters)
        self.code = code
        self.parameters = parameters

    def __str__(self) -> str:
        """The English sentence, so that a traceback in a notebook reads like the command line."""
        from pipelines.wording import sentence

        return sentence(self, "en")

    def __reduce__(self) -> tuple[Any, ...]:
        """Survive pickling between processes: the default would call ``__init__`` with two positional arguments."""
        return _rebuild, (type(self), self.code, self.parameters)


class InputError(CinquainError):
    """What was asked for cannot be done as asked; nothing was started."""

    exit_code = 2


class UnavailableError(CinquainError):
    """What answers cannot be had now, for this or any other request; later, or once it is put right, it can.

    A file of rows stops here, to be continued, where any other error would be the result of its row.
    """


def nearest(name: str, known: Iterable[str]) -> str:
    """The valid names closest to a wrong one, as text for an error: at most three, all of them if none is close."""
    names = list(known)
    return ", ".join(get_close_matches(name, names, n=3, cutoff=0.5) or names)


def _rebuild(kind: type[CinquainError], code: str, parameters: dict[str, Any]) -> CinquainError:
    return kind(code, **parameters)
