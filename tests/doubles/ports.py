"""A TCP port of this machine that nobody uses."""

import socket

__all__ = ["free_port"]


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
