"""Put an adapter or a merged model on the Hub: what serves it, its card and its figures, and nothing of its rows.

Files are chosen from a list of what may go, never from what lies there: an adapter's folder also holds the prepared
rows, what was redacted from them, and every reply of the comparison.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from finetune.judging.results import public_name, public_results
from finetune.merging import REPORT
from pipelines.engines.remote.transport import http_library
from pipelines.errors import CinquainError, InputError
from pipelines.home import offline_variable
from pipelines.models.fingerprint import FILE_NAME, MERGED_FILE_NAME, read
from pipelines.models.hub.errors import endpoint, shown

__all__ = ["MODEL_FILES", "Pushed", "account", "asked", "check_name", "public_files", "push", "send"]

Answer = TypeVar("Answer")

_ADAPTER = ("README.md", "adapter_config.json", "adapter_model.safetensors", FILE_NAME, "loss.png")
MODEL_FILES = (
    "README.md", "config.json", "generation_config.json", "chat_template.jinja", "tokenizer.json",
    "tokenizer_config.json", "special_tokens_map.json", "vocab.json", "merges.txt", "*.model", "*.safetensors",
    "model.safetensors.index.json", MERGED_FILE_NAME,
)  # fmt: skip
"""Patterns of what serves a model: nothing else in its folder is published."""
_TEXTS = (".md", ".json", ".jinja", ".txt")
_STATUS = {401: "push_not_logged_in", 402: "push_plan", 403: "push_no_right", 409: "push_name_taken"}


@dataclass(frozen=True)
class Pushed:
    """What is on the Hub now.

    Attributes:
        address: Page of the repository.
        commit: Its newest commit; None where nothing was sent (``dry_run``).
        files: Size of each file in bytes, by its name.
    """

    address: str
    commit: str | None
    files: dict[str, int]


def push(folder: Path, to: str, *, private: bool = True, dry_run: bool = False) -> Pushed:
    """Make the repository where there is none, and one commit of what changed.

    Args:
        folder: What ``cinquain finetune`` or ``cinquain merge`` wrote.
        to: ``user/name``.
        private: Of a new repository; one that is there stays as it is.
        dry_run: Choose and check the files, and send nothing.

    Raises:
        InputError: Not a finished adapter or merged model, one whose merge failed its gate, a path of this machine in a
            file; not logged in, no right to write, a name that is taken.
        CinquainError: The Hub cannot be reached, or refuses.
    """
    files = public_files(folder)
    sizes = {
        name: len(content) if isinstance(content, bytes) else content.stat().st_size for name, content in files.items()
    }
    check_name(to)
    address = f"{shown(endpoint())}/{to}"
    if dry_run:
        return Pushed(address, None, sizes)
    message = f"{'Merged model' if 'config.json' in files else 'Adapter'}, card and figures"
    return Pushed(address, send(files, to, message, private=private), sizes)


def check_name(to: str) -> None:
    """See that a name can be one of a repository.

    Raises:
        InputError: ``push_name``.
    """
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    try:
        validate_repo_id(to)
    except HFValidationError as error:
        raise InputError("push_name", found=to) from error
    if "/" not in to:
        raise InputError("push_name", found=to)


def account(to: str = "") -> Any:
    """The Hub's API, with an account that may be asked.

    Args:
        to: What will be written: a token that can only read is refused at once.

    Raises:
        InputError: ``push_offline``, ``push_not_logged_in``, ``push_no_right``.
        CinquainError: The Hub cannot be reached.
    """
    from huggingface_hub import HfApi

    if variable := offline_variable():
        raise InputError("push_offline", variable=variable)
    api = HfApi(endpoint=endpoint())
    auth = asked(lambda: api.whoami(), "").get("auth") or {}
    if to and (auth.get("accessToken") or {}).get("role") == "read":
        raise InputError("push_no_right", repository=to)
    return api


def send(files: Mapping[str, Path | bytes], to: str, message: str, *, private: bool) -> str:
    """One commit of what changed in a repository of models, which is made where there is none.

    Args:
        files: Content by name.
        to: ``user/name``.
        message: Of the commit.
        private: Of a new repository.

    Returns:
        The commit that holds these files; the newest one where nothing changed.
    """
    from huggingface_hub import CommitOperationAdd

    api = account(to)
    asked(lambda: api.create_repo(to, private=private, exist_ok=True), to)
    operations = [CommitOperationAdd(name, content) for name, content in files.items()]
    return str(asked(lambda: api.create_commit(to, operations, commit_message=message), to).oid)


def public_files(folder: Path) -> dict[str, Path | bytes]:
    """What of a folder may be published, by its name on the Hub.

    Raises:
        InputError: ``push_nothing``: it is neither a finished adapter nor a merged model; ``push_gate``: the merged
            model differs from base and adapter; ``push_path``: a text names a path of this machine.
    """
    adapter = (folder / "adapter_config.json").is_file()
    patterns = _ADAPTER if adapter else (*MODEL_FILES, REPORT)
    found = [path for pattern in patterns for path in sorted(folder.glob(pattern))]
    files: dict[str, Path | bytes] = {path.name: path for path in found}
    needed = ("adapter_model.safetensors", "README.md") if adapter else ("config.json", REPORT)
    if not all(name in files for name in needed):
        raise InputError("push_nothing", path=str(folder))
    if adapter:
        files |= _without_paths(folder)
    elif not json.loads((folder / REPORT).read_bytes()).get("passed"):
        raise InputError("push_gate", path=str(folder), report=str(folder / REPORT))
    elif fingerprint := read(folder, MERGED_FILE_NAME):
        base = fingerprint.base.model_copy(update={"reference": public_name(fingerprint.base.reference)})
        files[MERGED_FILE_NAME] = fingerprint.model_copy(update={"base": base}).model_dump_json(indent=2).encode()
    for name, content in files.items():
        if name.endswith(_TEXTS):
            text = (content if isinstance(content, bytes) else content.read_bytes()).decode("utf-8", "replace")
            _refuse_paths(folder / name, text)
    return files


def _without_paths(folder: Path) -> dict[str, bytes]:
    """Texts of an adapter with the names of folders in place of their paths, and its figures."""
    results = public_results(folder)
    base = json.loads((folder / "adapter_config.json").read_bytes()).get("base_model_name_or_path") or ""
    reference = json.loads((folder / "recipe.json").read_bytes()).get("model") or ""
    found = {"results.json": (json.dumps(results, ensure_ascii=False, indent=1) + "\n").encode()}
    for name in ("README.md", "adapter_config.json", FILE_NAME):
        if not (folder / name).is_file():
            continue
        text = (folder / name).read_text(encoding="utf-8")
        for path in (base, reference, str(folder.resolve())):
            if path:
                text = text.replace(path, public_name(path))
        found[name] = text.encode()
    return found


def _refuse_paths(path: Path, text: str) -> None:
    """A path below a home or the working folder tells who published, and opens nowhere else."""
    private = {str(Path.home()), str(Path.cwd()), str(path.parent.resolve())} - {"/"}
    for number, line in enumerate(text.splitlines(), 1):
        if any(f"{place}/" in line for place in private):
            raise InputError("push_path", path=str(path), line=number)


def asked(question: Callable[[], Answer], to: str) -> Answer:
    """An answer of the Hub, or its refusal in one sentence.

    Raises:
        InputError: ``push_not_logged_in``, ``push_plan``, ``push_no_right``, ``push_name_taken``.
        CinquainError: ``push_refused`` with its status; ``push_lost``: the network was.
    """
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError

    try:
        return question()
    except LocalTokenNotFoundError as error:
        raise InputError("push_not_logged_in") from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        if code := _STATUS.get(status):
            raise InputError(code, repository=to) from error
        raise CinquainError(
            "push_refused", repository=to, status=status, problem=shown(str(error).splitlines()[0])
        ) from error
    except (http_library().HTTPError, OSError) as error:
        problem = str(error) or type(error).__name__
        raise CinquainError("push_lost", repository=to, problem=shown(problem.splitlines()[0])) from error
