"""Who may ask the model next: first come, first served, whichever page and language the requests come from."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from pipelines.errors import InputError

__all__ = ["MOST", "MOST_OF_ONE", "Ticket", "Turns"]

MOST = 32
"""Requests that may be there at a time; more are refused with a sentence instead of waiting for minutes."""
MOST_OF_ONE = 3
"""Those of one visitor: with one page open in several tabs nobody gets further than that."""


class Ticket:
    """The place of one request in the queue."""

    def __init__(self, turns: "Turns", visitor: str) -> None:
        self._turns = turns
        self.visitor = visitor

    def wait(self, seconds: float) -> int:
        """How many requests are before this one; waits until there are none, at most so long."""
        with self._turns.moved:
            self._turns.moved.wait_for(lambda: not self._turns.before(self), seconds)
            return self._turns.before(self)


class Turns:
    """A queue of requests of which the first one is at work.

    Args:
        most: Requests that may be there at a time.
        most_of_one: Those of one visitor.
    """

    def __init__(self, most: int = MOST, most_of_one: int = MOST_OF_ONE) -> None:
        self.moved = threading.Condition()
        self._most, self._most_of_one = most, most_of_one
        self._tickets: list[Ticket] = []

    def before(self, ticket: Ticket) -> int:
        """How many requests are before this one; the caller holds ``moved``."""
        return self._tickets.index(ticket)

    @contextmanager
    def joined(self, visitor: str) -> Iterator[Ticket]:
        """Stand in the queue for as long as the block runs, wherever in it.

        Args:
            visitor: Who asks; "" for those that cannot be told apart, which are limited together with all others only.

        Raises:
            InputError: ``web_queue_full``, ``web_queue_yours``.
        """
        ticket = Ticket(self, visitor)
        with self.moved:
            if len(self._tickets) >= self._most:
                raise InputError("web_queue_full", most=self._most)
            if visitor and sum(each.visitor == visitor for each in self._tickets) >= self._most_of_one:
                raise InputError("web_queue_yours", most=self._most_of_one)
            self._tickets.append(ticket)
        try:
            yield ticket
        finally:
            with self.moved:
                self._tickets.remove(ticket)
                self.moved.notify_all()
