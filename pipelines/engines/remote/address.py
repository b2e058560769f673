"""The address of a remote model: ``https://host/v1#model``, checked before anything is sent."""

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from pipelines.engines.remote.keys import Key, key_for
from pipelines.errors import CinquainError, InputError
from pipelines.home import offline_variable

__all__ = ["Address", "parse_address"]

_HUGGING_FACE = ("huggingface.co", ".huggingface.co", ".huggingface.cloud")
_HOST = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:.]+\]")


@dataclass(frozen=True)
class Address:
    """Where a remote model is.

    Attributes:
        reference: The reference as it was given.
        base: Beginning of every address that is asked, ``https://host/v1``, without a slash at the end.
        host: Host, with the port where the address has one: what a key is bound to.
        model: The model's name on that server; None where the reference names none.
        loopback: Whether it is this machine.
        key: The key that belongs to the host.
    """

    reference: str
    base: str
    host: str
    model: str | None
    loopback: bool
    key: Key | None = None

    @property
    def root(self) -> str:
        """The server's own root, above the interface's path."""
        return self.base.split("://")[0] + "://" + self.host

    def mask(self, text: str) -> str:
        """A text of the server, with the key taken out."""
        return self.key.mask(text) if self.key else text


def parse_address(reference: str) -> Address:
    """Read a reference.

    A path that is left out becomes ``/v1``, and ``/chat/completions`` at its end is left off.

    Raises:
        InputError: ``remote_scheme``, ``remote_plain_http``, ``remote_secret_in_address``, ``remote_address`` or
            ``remote_key_malformed``.
        CinquainError: ``remote_offline``.
    """
    given = reference.strip()
    try:
        parts = urlsplit(given)
        loopback = _is_loopback(parts.hostname or "")
        port = parts.port
    except ValueError as error:
        raise InputError("remote_address", reference=_harmless(given), problem=str(error)) from None
    if "@" in parts.netloc or parts.query:
        # The reference is written into results and records: a password or a key in it would be, too.
        raise InputError("remote_secret_in_address", reference=_harmless(given))
    if parts.scheme not in ("http", "https"):
        raise InputError("remote_scheme", reference=given, found=parts.scheme)
    host = parts.netloc.lower().removesuffix(f":{port}").rstrip(":")
    if not _HOST.fullmatch(host) or ".." in host:
        raise InputError("remote_address", reference=given, problem=repr(parts.netloc))
    if parts.scheme == "http" and not loopback:
        raise InputError("remote_plain_http", reference=given, host=parts.netloc)
    if port is not None and port != {"http": 80, "https": 443}[parts.scheme]:
        host = f"{host}:{port}"
    _check_offline(given, host, loopback)
    path = parts.path.rstrip("/").removesuffix("/chat/completions") or "/v1"
    return Address(
        given, f"{parts.scheme}://{host}{path}", host, parts.fragment.strip() or None, loopback, key_for(host)
    )


def _check_offline(reference: str, host: str, loopback: bool) -> None:
    """Keep to the variable that forbids network calls; that of the Hub speaks only of Hugging Face's own servers."""
    variable = offline_variable()
    if variable is None or loopback:
        return
    if variable == "CINQUAIN_OFFLINE" or host.endswith(_HUGGING_FACE):
        raise CinquainError("remote_offline", reference=reference, variable=variable)


def _is_loopback(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"


def _harmless(reference: str) -> str:
    """As much of a reference as can be shown when it may hold a secret: scheme and host."""
    try:
        parts: SplitResult = urlsplit(reference)
    except ValueError:
        return reference.split("://")[0] + "://…"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
