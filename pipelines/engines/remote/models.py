"""What a server says of its models: their names, and how long a conversation may be."""

import asyncio
from typing import Any

from pipelines.engines.remote.address import Address
from pipelines.engines.remote.transport import OversizedError, RefusedError, http_library, readable
from pipelines.errors import InputError, UnavailableError, nearest

__all__ = ["list_models", "listed_length", "not_found", "the_only_model"]

LIST_S = 5.0
"""Seconds for a list of names; nothing is computed for it."""

_SHOWN = 20
# vLLM; OpenRouter and HF's router; Groq; LM Studio.
_LENGTHS = ("max_model_len", "context_length", "context_window", "max_context_length")


async def list_models(client: Any, address: Address) -> list[dict[str, Any]]:
    """The models that a server lists; none where it keeps no list or will not show it.

    Raises:
        httpx.ConnectError, httpx.ConnectTimeout: Nobody answers at this address.
    """
    data = await _get(client, f"{address.base}/models")
    models = data.get("data") if isinstance(data, dict) else None
    if not isinstance(models, list):
        return []
    return [model for model in models if isinstance(model, dict) and isinstance(model.get("id"), str)]


async def listed_length(client: Any, address: Address, model: str) -> int | None:
    """Tokens that prompt and reply may share, None where the server does not say.

    Raises:
        httpx.ConnectError, httpx.ConnectTimeout: Nobody answers at this address.
    """
    for entry in await list_models(client, address):
        if entry["id"] != model:
            continue
        providers = entry.get("providers")  # of HF's router: any of them may answer
        places = [entry, *(place for place in providers or [] if isinstance(place, dict))]
        if lengths := [place[name] for place in places for name in _LENGTHS if _is_length(place.get(name))]:
            return min(lengths)
        if entry.get("owned_by") == "llamacpp":
            properties = await _get(client, f"{address.root}/props")
            settings = properties.get("default_generation_settings") if isinstance(properties, dict) else None
            length = settings.get("n_ctx") if isinstance(settings, dict) else None
            return length if _is_length(length) else None
    return None


async def the_only_model(client: Any, address: Address) -> str:
    """The name of the model of a server that has just one.

    Raises:
        InputError: ``remote_model_missing``, with the names that the server lists.
    """
    names = _names(address, await list_models(client, address))
    if len(names) == 1:
        return names[0]
    shown = names[:_SHOWN] + ["…"] * (len(names) > _SHOWN)
    raise InputError("remote_model_missing", base=address.base, names=shown or ["-"])


async def not_found(client: Any, address: Address, model: str, said: str) -> UnavailableError:
    """The error for a model or a path that is not there, with the names that come nearest."""
    try:
        names = _names(address, await list_models(client, address))
    except http_library().HTTPError:
        names = []
    near = nearest(model, names).split(", ")[:_SHOWN] if names else ["-"]
    return UnavailableError("remote_not_found", base=address.base, model=model, said=said or "-", names=near)


def _names(address: Address, models: list[dict[str, Any]]) -> list[str]:
    return [readable(address.mask(model["id"]), 100) for model in models]


def _is_length(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**31


async def _get(client: Any, url: str) -> Any:
    """A JSON document, None where it cannot be had; whether the server is there at all, is what an error says."""
    library = http_library()
    try:
        async with asyncio.timeout(LIST_S):
            return (await client.get(url)).json()
    except (library.ConnectError, library.ConnectTimeout):
        raise
    except (RefusedError, OversizedError, library.HTTPError, ValueError, RecursionError, TimeoutError):
        return None
