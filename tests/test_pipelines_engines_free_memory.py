"""What counts as free, and what is said when memory runs out all the same."""

import gc
import platform
import sys
import weakref
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import torch

from pipelines import CinquainError
from pipelines.engines.free_memory import container_memory, free_memory, give_back, is_out_of_memory, memory_errors


@pytest.mark.skipif(sys.platform != "linux" or platform.libc_ver()[0] != "glibc", reason="glibc keeps freed memory")
def test_what_the_c_library_keeps_is_given_back() -> None:
    process = psutil.Process()
    tensors = [torch.ones(25_000) for _ in range(1500)]  # too small for a mapping of their own
    last = torch.ones(25_000)
    before = process.memory_info().rss
    tensors.clear()
    give_back("cpu")
    assert before - process.memory_info().rss > 100_000_000
    assert last.sum() == 25_000


def test_the_page_cache_and_swap_count_as_free() -> None:
    free = free_memory("cpu")
    memory, swap = psutil.virtual_memory(), psutil.swap_memory()
    assert 0 < free <= memory.total + swap.total
    if container_memory() is None:
        assert free > memory.free - 2**30


@pytest.fixture
def groups(tmp_path: Path) -> Callable[..., int | None]:
    def write(line: str, **files: dict[str, str]) -> int | None:
        (tmp_path / "cgroup").write_text(f"3:cpu:/\n{line}\n", encoding="utf-8")
        for name, contents in files.items():
            folder = tmp_path / "fs" / name.replace("__", "/")
            folder.mkdir(parents=True, exist_ok=True)
            for key, text in contents.items():
                (folder / key.replace("_", ".", 1)).write_text(text, encoding="utf-8")
        return container_memory(tmp_path / "cgroup", tmp_path / "fs")

    return write


def test_a_container_s_limit_is_what_is_left_of_it_without_the_page_cache(groups: Callable[..., int | None]) -> None:
    stat = "anon 300\ninactive_file 150\nactive_file 50\n"
    files = {"memory_max": "1000\n", "memory_current": "700\n", "memory_stat": stat}
    assert groups("0::/mine/inner", mine=files) == 500  # the limit of a group above holds as well
    wide = files | {"memory_max": "max\n"}
    assert groups("0::/mine/inner", mine=wide) is None
    assert groups("0::/", mine=wide) is None
    stat = "inactive_file 1\ntotal_inactive_file 150\ntotal_active_file 50\n"
    first = {"memory_limit_in_bytes": "1000", "memory_usage_in_bytes": "700", "memory_stat": stat}
    assert groups("4:memory:/host/path", memory=first) == 500  # inside a container only the mount is there
    first["memory_limit_in_bytes"] = "9223372036854771712"
    assert groups("4:memory:/host/path", memory=first) is None


def test_memory_that_runs_out_is_one_sentence_and_is_given_back() -> None:
    forgotten = []
    alive: list[weakref.ref[torch.Tensor]] = []

    def work() -> None:
        held = torch.zeros(1000)
        alive.append(weakref.ref(held))
        torch.empty(2**50)

    with (
        pytest.raises(CinquainError) as caught,
        memory_errors("tiny", "cpu", tokens=900, rows=3, give_up=lambda: forgotten.append(True)),
    ):
        work()
    assert caught.value.code == "memory_exhausted"
    assert caught.value.exit_code == 1
    assert caught.value.parameters["tokens"] == 900
    assert caught.value.parameters["free"].endswith(" GB")
    assert forgotten == [True]
    gc.collect()
    assert alive[0]() is None  # while the error is still held


def test_only_memory_is_taken_for_memory() -> None:
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"))
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(RuntimeError("MPS backend out of memory (MPS allocated: 5 GB)"))
    assert not is_out_of_memory(RuntimeError("shape mismatch"))
    with pytest.raises(RuntimeError, match="shape"), memory_errors("tiny", "cpu", tokens=1, rows=1):
        raise RuntimeError("shape mismatch")
