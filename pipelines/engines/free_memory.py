"""How much memory is free where a model runs, and one sentence for the moment when it does not suffice."""

import ctypes
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pipelines.errors import CinquainError
from pipelines.models.memory import gigabytes

__all__ = ["container_memory", "free_memory", "give_back", "is_out_of_memory", "memory_errors"]

# What torch says where it raises a plain RuntimeError: the processor's allocator (Linux, Windows), and Apple's GPUs.
_OUT_OF_MEMORY = ("can't allocate memory", "not enough memory", "out of memory", "Cannot allocate memory")


def free_memory(device: str) -> int:
    """Bytes that a model may still take on a device (``cpu``, ``mps``, ``cuda:N``).

    The page cache counts as free, as the system gives it up on demand; so does what torch keeps for later. On the
    processor free swap counts too (slow, but it runs), and the limit of a container, if there is one.
    """
    if device.startswith("cuda"):
        import torch

        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    import psutil

    free = psutil.virtual_memory().available + psutil.swap_memory().free
    limited = container_memory()
    free = free if limited is None else min(free, limited)
    if device == "mps":  # the same memory, of which the GPU may hold a part
        import torch

        free = min(free, torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory())
    return free


def container_memory(groups: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Bytes that the control groups of this process leave free; None where none of them has a limit.

    Args:
        groups: The kernel's list of the groups that this process is in.
        root: Where the groups are mounted.
    """
    try:
        lines = groups.read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return None
    left: list[int] = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:  # version 2
            mounts, names = [root, root / "unified"], ("memory.max", "memory.current", "")
        elif "memory" in controllers.split(","):
            mounts, names = [root / "memory"], ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_")
        else:
            continue
        # A limit holds for all groups below it. Inside a container the path may be the host's, and only the mount is
        # there.
        inner = Path(path.strip().lstrip("/"))
        folders = {mount / part for mount in mounts for part in (inner, *inner.parents) if ".." not in part.parts}
        left += [free for folder in folders if (free := _group_memory(folder, *names)) is not None]
    return min(left, default=None)


def _group_memory(folder: Path, limit_name: str, usage_name: str, prefix: str) -> int | None:
    try:
        limit = int((folder / limit_name).read_text())
        usage = int((folder / usage_name).read_text())
        lines = (folder / "memory.stat").read_text().splitlines()
    except (OSError, ValueError):  # no such group, or "max": no limit
        return None
    if limit >= 2**60:  # version 1 says so where there is none
        return None
    counts = {name: int(value) for name, _, value in (line.partition(" ") for line in lines)}
    pages = sum(counts.get(f"{prefix}{kind}_file", 0) for kind in ("active", "inactive"))
    return max(0, limit - max(0, usage - pages))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of torch, or of Python, says that memory did not suffice."""
    import torch

    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError | OSError) and any(words in str(error) for words in _OUT_OF_MEMORY)


@contextmanager
def memory_errors(
    reference: str, device: str, tokens: int, rows: int, give_up: Callable[[], None] | None = None
) -> Iterator[None]:
    """Turn an allocation that fails inside into one sentence with numbers, and give back what the failed work held.

    Args:
        reference: Model reference.
        device: Where it runs.
        tokens: Tokens of the longest text.
        rows: Texts at once.
        give_up: Called before memory is given back: the place to forget kept states.

    Raises:
        CinquainError: ``memory_exhausted``.
    """
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        # The frames hold the tensors of the pass that failed; without this they would live as long as the error.
        traceback.clear_frames(error.__traceback__)
    else:
        return
    if give_up:
        give_up()
    give_back(device)
    raise CinquainError(
        "memory_exhausted",
        model=reference,
        device=device,
        tokens=tokens,
        rows=rows,
        free=gigabytes(max(0, free_memory(device))),
    )


def give_back(device: str) -> None:
    """Let other programs have what torch, and on Linux the C library, keep for later.

    After a prompt of 1,500 tokens glibc kept 158 MB of free memory that the embedded model had needed meanwhile.
    """
    import gc

    import torch

    gc.collect()
    if device.startswith("cuda"):
        torch.cuda.empty_cache()
    elif device == "mps":
        torch.mps.empty_cache()
    with suppress(AttributeError, OSError, TypeError):  # another C library than glibc, or Windows
        ctypes.CDLL(None).malloc_trim(0)
