"""Which files of a Hub repository are needed, and how they are fetched: never a pickle, never code."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.errors import CinquainError, InputError
from pipelines.home import NO_SPACE, megabytes
from pipelines.models.folders import PICKLE_SUFFIXES, WEIGHT_INDEX, has_tokenizer
from pipelines.models.hub.cache import snapshot_folder
from pipelines.models.hub.errors import bounded, endpoint

__all__ = ["Listing", "choose_gguf", "converted", "fetch", "look_up", "model_files", "quiet_hub"]

# Configuration, tokenizers of all kinds, chat templates.
_SMALL = re.compile(r"[^/]+\.(json|jinja|txt|model|spm)")
_CONVERTER = "SFconvertbot"
_CONVERSION = "Adding `safetensors` variant of this model"


@dataclass(frozen=True)
class Listing:
    """What a repository holds at one commit.

    Attributes:
        commit: 40 hexadecimal digits.
        files: Bytes by path, -1 where the Hub does not say.
        library: What the Hub takes it for (``transformers``, ``diffusers``, ``peft``, ``gguf``…).
    """

    commit: str
    files: dict[str, int]
    library: str | None = None


def look_up(hub_id: str, revision: str) -> Listing:
    """Ask the Hub for the commit and the files of a branch, tag or commit: one request, no retries."""
    from huggingface_hub import HfApi

    api = HfApi(endpoint=endpoint())
    info = bounded(lambda: api.model_info(hub_id, revision=revision, files_metadata=True))
    if not re.fullmatch(r"[0-9a-f]{40}", str(info.sha)):  # it becomes the name of a folder
        raise ValueError(f"{hub_id} has no commit but {info.sha!r}")
    files = {file.rfilename: -1 if file.size is None else file.size for file in info.siblings or []}
    return Listing(str(info.sha), files, info.library_name)


def converted(hub_id: str) -> tuple[str, Listing] | None:
    """The branch on which the Hub's own converter offers pickled weights as safetensors, and what it holds.

    Anybody can open a pull request of that title: only the converter's own counts.
    """
    from huggingface_hub import HfApi

    api = HfApi(endpoint=endpoint())
    try:
        offers = bounded(
            lambda: list(
                api.get_repo_discussions(
                    hub_id, author=_CONVERTER, discussion_type="pull_request", discussion_status="open"
                )
            )
        )
        for offer in offers:
            if offer.author == _CONVERTER and offer.title == _CONVERSION and offer.git_reference:
                listing = look_up(hub_id, offer.git_reference)
                if _has_safetensors(listing):
                    return offer.git_reference, listing
    except Exception:  # discussions may be closed, or the network fail: the sentence about pickles is said then
        return None
    return None


def choose_gguf(hub_id: str, listing: Listing, asked: str | None) -> str | None:
    """The path of the GGUF that was asked for, or of the only one there is; None for a model in safetensors.

    Raises:
        InputError: ``hub_gguf_unknown`` with those that exist.
    """
    ggufs = _ggufs(listing)
    if asked and asked not in listing.files:
        raise InputError("hub_gguf_unknown", model=hub_id, found=asked, files=ggufs or sorted(listing.files)[:8])
    return asked or (ggufs[0] if len(ggufs) == 1 and "config.json" not in listing.files else None)


def model_files(hub_id: str, listing: Listing) -> list[str]:
    """The small files of a whole model in safetensors; its weights are named by one of them.

    Raises:
        InputError: The repository is something else, or its weights are not safe: ``hub_diffusion``, ``hub_adapter``,
            ``hub_gguf_choose``, ``hub_no_config``, ``hub_pickle``, ``hub_no_weights``, ``hub_no_tokenizer``.
    """
    names = set(listing.files)
    if "config.json" not in names:
        if "model_index.json" in names or listing.library == "diffusers":
            raise InputError("hub_diffusion", model=hub_id)
        if "adapter_config.json" in names:
            raise InputError("hub_adapter", model=hub_id)
        if ggufs := _ggufs(listing):
            sizes = [f"{name} ({megabytes(listing.files[name])})" for name in ggufs]
            raise InputError("hub_gguf_choose", model=hub_id, files=sizes, first=ggufs[0])
        raise InputError("hub_no_config", model=hub_id, files=sorted(names)[:8] or "-")
    if not _has_safetensors(listing):
        if pickles := sorted(name for name in names if "/" not in name and Path(name).suffix in PICKLE_SUFFIXES):
            raise InputError("hub_pickle", model=hub_id, files=pickles[:4])
        raise InputError("hub_no_weights", model=hub_id, files=sorted(names)[:8])
    if not has_tokenizer(names):
        raise InputError("hub_no_tokenizer", model=hub_id)
    # The index of weights in another format is of no use, and that of ours only where there is no single file.
    unused = {name for name in names if name.endswith(".index.json")} - {WEIGHT_INDEX}
    if "model.safetensors" in names:
        unused.add(WEIGHT_INDEX)
    return sorted(name for name in names - unused if _SMALL.fullmatch(name))


def fetch(hub_id: str, commit: str, names: list[str], cache: Path, show: Callable[[int], None]) -> Path:
    """Bring files into the Hub's cache, one after another; those that are there cost nothing.

    One after another, because a file counts only when it is whole (huggingface_hub 2.4 begins a cut one again): a run
    that is killed loses one file at most, and not a part of eight.

    Args:
        hub_id: ``org/name``.
        commit: 40 hexadecimal digits.
        names: Paths in the repository.
        cache: The Hub's cache folder.
        show: Takes the bytes of these files that are done.

    Returns:
        The snapshot's folder.

    Raises:
        CinquainError: ``hub_disk_full``; everything else is left to ``explain``.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url

    path, before = cache, 0
    for name in names:
        bar = _bar(lambda done, before=before: show(before + done))  # type: ignore[misc]
        if not (snapshot_folder(hub_id, commit) / name).exists():
            # The library asks the same and, when that fails, waits in silence: 23 s without a network, minutes where
            # the Hub limits requests.
            url = hf_hub_url(hub_id, name, revision=commit, endpoint=endpoint())
            bounded(lambda url=url: get_hf_file_metadata(url, endpoint=endpoint()))  # type: ignore[misc]
        try:
            with quiet_hub():
                path = Path(
                    hf_hub_download(hub_id, name, revision=commit, cache_dir=cache, endpoint=endpoint(), tqdm_class=bar)
                )
        except OSError as error:
            if error.errno in NO_SPACE:
                raise CinquainError("hub_disk_full", model=hub_id, path=str(cache)) from error
            raise
        before += path.stat().st_size
        show(before)
        for _ in Path(name).parts[1:]:
            path = path.parent
    return path.parent


@contextmanager
def quiet_hub() -> Iterator[None]:
    """No log lines of the library between ours: what it retries in the end fails with a sentence or works."""
    from huggingface_hub.utils import logging

    level = logging.get_verbosity()
    logging.set_verbosity(logging.CRITICAL)
    try:
        yield
    finally:
        logging.set_verbosity(level)


def _has_safetensors(listing: Listing) -> bool:
    return bool({"model.safetensors", WEIGHT_INDEX} & set(listing.files))


def _ggufs(listing: Listing) -> list[str]:
    """GGUF files, the smallest first. One of several parts cannot be read by transformers."""
    names = [name for name in listing.files if name.lower().endswith(".gguf") and "-of-" not in name]
    return sorted(names, key=lambda name: (listing.files[name], name))


def _bar(show: Callable[[int], None]) -> Any:
    """What huggingface_hub takes for a progress bar's class, for plain downloads and for Xet's."""

    class Bar:
        def __init__(self, *_: Any, total: int | None = None, initial: int = 0, **__: Any) -> None:
            self.total, self.n = total, initial

        def __enter__(self) -> "Bar":
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def update(self, count: float | None = 1) -> None:
            self.n += int(count or 0)
            show(self.n)

        def update_transfer(self, count: float | None = 1) -> None:
            """Bytes on the wire: Xet counts them beside the bytes of the file, which are what is shown."""

        def set_postfix_str(self, *_: Any, **__: Any) -> None: ...

        set_transfer_postfix_str = set_description_str = set_postfix_str
        refresh = close = set_postfix_str

    return Bar
