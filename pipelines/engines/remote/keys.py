"""Which key belongs to which server: each is bound to one host by the name of its variable, and goes nowhere else.

| Variable | Server |
|---|---|
| ``CINQUAIN_KEY_LLM_EXAMPLE_ORG`` | ``https://llm.example.org`` |
| ``CINQUAIN_KEY_MY__GATEWAY_EXAMPLE_ORG`` | ``https://my-gateway.example.org``: two underscores for a hyphen |
| ``CINQUAIN_KEY_LOCALHOST_8000`` | ``http://localhost:8000``: a port belongs to the host |
| ``OPENAI_API_KEY`` | ``https://api.openai.com`` |
| ``GEMINI_API_KEY`` | ``https://generativelanguage.googleapis.com`` |
| the Hub's token | ``https://router.huggingface.co``, ``https://*.endpoints.huggingface.cloud`` |

The Hub's token is ``HF_TOKEN``, or what ``hf auth login`` stored.
"""

import os
import re
from dataclasses import dataclass, field

from pipelines.errors import InputError

__all__ = ["MASK", "Key", "advised_variable", "key_for", "keys_set", "variable_for"]

_PREFIX = "CINQUAIN_KEY_"
_WELL_KNOWN = {
    "api.openai.com": "OPENAI_API_KEY",
    "generativelanguage.googleapis.com": "GEMINI_API_KEY",
}
_HUB_TOKEN = re.compile(r"router\.huggingface\.co|[a-z0-9.-]+\.endpoints\.huggingface\.cloud")
MASK = "[key]"
"""What stands where a server sent the key back."""


@dataclass(frozen=True)
class Key:
    """A key and where it came from.

    Attributes:
        source: Name of the variable, or ``HF_TOKEN`` for the Hub's token.
        value: The key; never part of ``repr``.
    """

    source: str
    value: str = field(repr=False)

    def mask(self, text: str) -> str:
        """A text of the server, with the key taken out; ``EMPTY`` and the like are words, no secrets."""
        return text.replace(self.value, MASK) if self.secret else text

    @property
    def secret(self) -> bool:
        """Whether it is long enough to be one."""
        return len(self.value) >= 8


def variable_for(host: str) -> str:
    """Name of the environment variable that holds the key of a host.

    No two hosts share a name: ``a-b.c`` and ``a.b.c`` differ, because a label neither begins nor ends with a hyphen.

    Args:
        host: Host, with its port where the address names one.
    """
    return _PREFIX + re.sub(r"[^a-z0-9]", "_", host.replace("-", "__")).upper()


def advised_variable(host: str) -> str:
    """The variable to tell a person of who has no key for a host."""
    return _WELL_KNOWN.get(host) or ("HF_TOKEN" if _HUB_TOKEN.fullmatch(host) else variable_for(host))


def key_for(host: str) -> Key | None:
    """The key that belongs to a host, None where there is none.

    Raises:
        InputError: ``remote_key_malformed``: it holds what a header cannot.
    """
    for source in (variable_for(host), _WELL_KNOWN.get(host)):
        if source and (value := os.environ.get(source, "").strip()):
            return _checked(source, value)
    if _HUB_TOKEN.fullmatch(host):
        from huggingface_hub import get_token

        if token := get_token():
            return _checked("HF_TOKEN", token)
    return None


def keys_set() -> list[str]:
    """Names of the variables that hold a key, never their values."""
    names = {*_WELL_KNOWN.values(), "HF_TOKEN", *(name for name in os.environ if name.startswith(_PREFIX))}
    return sorted(name for name in names if os.environ.get(name, "").strip())


def _checked(source: str, value: str) -> Key:
    if not re.fullmatch(r"[\x21-\x7e]+", value):
        raise InputError("remote_key_malformed", source=source)
    return Key(source, value)
