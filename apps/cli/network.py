"""Is a server reachable? Asked only by ``cinquain doctor``, with short timeouts."""

import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

__all__ = ["index_address", "reachable"]

_TIMEOUT_S = 4.0


def index_address() -> str:
    """The package index that pip uses here: its settings, else PyPI."""
    from pipelines.models.hub.errors import shown

    address = os.environ.get("PIP_INDEX_URL", "")
    if not address:
        call = [sys.executable, "-m", "pip", "config", "get", "global.index-url"]
        try:
            result = subprocess.run(call, capture_output=True, text=True, timeout=10, stdin=subprocess.DEVNULL)
            address = result.stdout.strip() if result.returncode == 0 else ""
        except (OSError, subprocess.TimeoutExpired):
            address = ""
    return shown(address or "https://pypi.org/simple/")


def reachable(addresses: Mapping[str, str]) -> dict[str, str | None]:
    """What keeps each of the servers from answering; None where one answers, whatever it says.

    Args:
        addresses: Address by name.
    """
    with ThreadPoolExecutor(max_workers=len(addresses) or 1) as pool:
        return dict(zip(addresses, pool.map(_problem, addresses.values()), strict=True))


def _problem(address: str) -> str | None:
    if not address.startswith(("http://", "https://")):
        return "not an http(s) address"
    # Not the root of a package index: that page lists every package there is, and mirrors may build it on each request.
    page = f"{address.rstrip('/')}/pip/" if address.rstrip("/").endswith("/simple") else address
    request = urllib.request.Request(page, method="HEAD", headers={"User-Agent": "cinquain-doctor"})
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S):
            return None
    except urllib.error.HTTPError as error:
        # 401, 403, 404 and 405 come from a server that works; from 500 on it, or a proxy on the way, does not.
        return None if error.code < 500 else f"HTTP {error.code}"
    except urllib.error.URLError as error:
        return str(error.reason)
    except (OSError, ValueError) as error:
        return str(error)
