"""A recipe: what to teach which model, as a YAML file that says only what differs from the defaults here."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from finetune.data.config import DataConfig
from finetune.data.settings import beside, model_beside, read_yaml
from pipelines.errors import InputError, nearest

__all__ = [
    "RECIPES",
    "AdapterConfig",
    "CompareConfig",
    "Recipe",
    "TrainingConfig",
    "find_recipe",
    "load_recipe",
    "parse_recipe",
    "parsed_recipe",
    "read_recipe",
]

AnyRecipe = TypeVar("AnyRecipe", bound=BaseModel)

RECIPES = Path(__file__).resolve().parent / "recipes"
"""Folder of the recipes that ship."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class AdapterConfig(_Strict):
    """The adapter that is trained."""

    kind: Literal["lora", "rslora", "dora"] = "lora"
    """LoRA (arXiv:2106.09685); rank-stabilised, for ranks over 32 (arXiv:2312.03732); DoRA, slower (2402.09353)."""
    rank: Annotated[int, Field(ge=1, le=1024)] = 16
    alpha: Annotated[float, Field(gt=0)] = 32.0
    """The update is scaled by alpha / rank (rslora: by alpha / sqrt(rank))."""
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    targets: Literal["all-linear"] | list[str] = "all-linear"
    """Every linear layer but the output one, or names of modules. All of them learn more than attention alone at the
    same number of weights (arXiv:2305.14314, section 4)."""
    quantization: Literal["8bit", "4bit"] | None = None
    """Of the base while training (QLoRA); NVIDIA GPUs only."""


class TrainingConfig(_Strict):
    """How it is trained."""

    epochs: Annotated[float, Field(gt=0)] = 1.0
    max_steps: Annotated[int, Field(ge=1)] | None = None
    """Instead of epochs."""
    batch_size: Annotated[int, Field(ge=1)] = 16
    """Rows of one optimizer step, all processes together."""
    pass_tokens: Annotated[int, Field(ge=16)] | None = None
    """Most padded tokens of one forward pass; changes memory and time and not the result. None takes what suits the
    device."""
    packed: Literal["auto", "on", "off"] = "auto"
    """Lay the rows of a pass end to end instead of padding them, and compute the beginning that they share once;
    ``auto`` does where the model can and the rows share enough. The result is the same."""
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    """For adapters of small models. Models of a billion weights and more want 1e-4 to 2e-4."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.03
    """Share of the steps in which the learning rate rises from 0."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    device: str = "auto"
    """``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps``; with several processes each takes its own."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """bfloat16 where the processor has instructions for it, else float32. The adapter itself is always float32."""
    gradient_checkpointing: Literal["auto", "on", "off"] = "auto"
    """Computes activations twice instead of keeping them; ``auto`` does where memory does not suffice without."""
    evaluate: Annotated[int, Field(ge=0)] = 0
    """Steps between two evaluations and checkpoints; 0 takes a twentieth of the run."""
    patience: Annotated[int, Field(ge=0)] = 5
    """Stop after this many evaluations without a better one; 0 never stops early."""
    validation_rows: Annotated[int, Field(ge=1)] = 400
    """Most validation rows of an evaluation while training."""
    trackers: list[Literal["trackio", "tensorboard", "wandb"]] = Field(default_factory=list)


class CompareConfig(_Strict):
    """How base and adapter are compared on held-out rows after training."""

    rows: Annotated[int, Field(ge=0)] = 200
    """Rows of the test part, or of the validation part where there is none; 0 compares nothing."""
    max_new_tokens: Annotated[int, Field(ge=1)] | None = None
    """Of each reply; the task's default where None."""
    canaries: Annotated[int, Field(ge=0)] = 0
    """Random secrets that are planted into the training rows, to measure how well they are remembered."""


class Recipe(_Strict):
    """Rows, a base model, and what to make of them.

    What is not said in a recipe has the value that stands here; ``Recipe(...).model_dump()`` shows all of them.
    """

    task: str
    model: str = "smollm2-135m"
    output: str
    """Folder of the adapter."""
    data: DataConfig
    """What the rows are; ``task`` and ``model`` are the recipe's."""
    adapter: AdapterConfig = AdapterConfig()
    training: TrainingConfig = TrainingConfig()
    compare: CompareConfig = CompareConfig()

    @model_validator(mode="before")
    @classmethod
    def _same_task_and_model(cls, values: Any) -> Any:
        if isinstance(values, dict) and isinstance(values.get("data"), dict):
            shared = {name: values.get(name, cls.model_fields[name].default) for name in ("task", "model")}
            for name, value in shared.items():
                if values["data"].get(name, value) != value:
                    raise ValueError(f"data.{name} is {values['data'][name]!r}, and {name} is {value!r}; leave it out")
            values = {**values, "data": {**values["data"], **shared}}
        return values


def find_recipe(name: str) -> Path:
    """The file of a recipe: a path, or the name of one that ships.

    Raises:
        InputError: ``recipe_unknown``, with the nearest names.
    """
    path = Path(name).expanduser()
    if path.is_file():
        return path
    shipped = {each.stem: each for each in sorted(RECIPES.glob("*.yaml"))}
    if name in shipped:
        return shipped[name]
    raise InputError("recipe_unknown", found=name, nearest=nearest(Path(name).stem, list(shipped)))


def load_recipe(path: Path, changes: Mapping[str, Any] | None = None) -> Recipe:
    """Read a recipe. Files that it names are looked for beside it; those of a recipe that ships, in the working folder.

    Args:
        path: YAML file.
        changes: Values that replace the file's: dotted name → value (``training.epochs``, ``data.sources.0.path``).

    Raises:
        InputError: The file cannot be read, is no recipe, or has a key that does not exist, with the nearest names.
    """
    folder = Path() if path.parent.resolve() == RECIPES else path.parent

    def placed(data: dict[str, Any]) -> dict[str, Any]:
        if isinstance(data.get("data"), dict):
            data = {**data, "data": beside(data["data"], folder)}
        return {**data, "model": model_beside(data["model"], folder)} if "model" in data else data

    return parse_recipe(read_recipe(path, changes, placed, kind="finetune"))


def read_recipe(
    path: Path, changes: Mapping[str, Any] | None, placed: Callable[[dict[str, Any]], dict[str, Any]], *, kind: str
) -> dict[str, Any]:
    """The plain data of a recipe file.

    Args:
        path: YAML file.
        changes: Values that replace the file's, by dotted name.
        placed: Names the files of the recipe from the working folder.
        kind: The command that the recipe must be for: ``finetune`` or ``pretrain``.

    Raises:
        InputError: ``recipe_unreadable``; ``recipe_for_pretrain`` or ``recipe_for_finetune`` where it is for the other
            command.
    """
    import yaml

    try:
        data = read_yaml(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        problem = (isinstance(error, OSError) and error.strerror) or " ".join(str(error).split())
        raise InputError("recipe_unreadable", path=str(path), problem=problem) from error
    if not isinstance(data, dict):
        raise InputError("recipe_unreadable", path=str(path), problem="it holds no keys")
    # Only a model from nothing has documents, and only an adapter has rows of a task.
    if kind == "finetune" and "documents" in data and "data" not in data:
        raise InputError("recipe_for_pretrain", path=str(path))
    if kind == "pretrain" and "documents" not in data and ("data" in data or "task" in data):
        raise InputError("recipe_for_finetune", path=str(path))
    data = placed(data)
    for name, value in (changes or {}).items():
        _put(data, name, value)
    return data


def parse_recipe(data: Mapping[str, Any]) -> Recipe:
    """A recipe from plain data, such as a YAML file holds.

    Raises:
        InputError: A key does not exist (``recipe_key_unknown``, with the nearest names), or a value is wrong.
    """
    return parsed_recipe(Recipe, data)


def parsed_recipe(model: type[AnyRecipe], data: Mapping[str, Any]) -> AnyRecipe:
    """As ``parse_recipe``, for a recipe of any kind.

    Raises:
        InputError: As for ``parse_recipe``.
    """
    try:
        return model.model_validate(dict(data))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = ".".join(map(str, first["loc"])) or "recipe"
        if first["type"] == "extra_forbidden":
            known = _known_keys(model, first["loc"][:-1])
            raise InputError("recipe_key_unknown", key=name, nearest=nearest(str(first["loc"][-1]), known)) from None
        if first["type"] == "missing":
            raise InputError("recipe_key_missing", key=name) from None
        problem = first["msg"].removeprefix("Value error, ")
        raise InputError("recipe_value", key=name, problem=problem, found=_shown(first["input"])) from None


def _put(data: Any, name: str, value: Any) -> None:
    """Set one value by its dotted name; parts that are missing are made."""
    *parents, last = name.split(".")
    place = data
    try:
        for parent in parents:
            if isinstance(place, list):
                place = place[int(parent)]
            else:
                place[parent] = place = {} if place.get(parent) is None else place[parent]
        place[int(last) if isinstance(place, list) else last] = value
    except (ValueError, IndexError, TypeError, AttributeError):
        raise InputError("recipe_key_unknown", key=name, nearest=nearest(name, data)) from None


def _known_keys(model: Any, location: tuple[int | str, ...]) -> list[str]:
    """Names of the fields at a place of a recipe, as pydantic names the place."""
    for part in location:
        if isinstance(part, str) and part in model.model_fields:
            kinds = [model.model_fields[part].annotation]
            while kinds:
                kind = kinds.pop()
                if isinstance(kind, type) and issubclass(kind, BaseModel):
                    model = kind
                kinds += get_args(kind)
    return list(model.model_fields)


def _shown(value: Any) -> str:
    found = repr(value)
    return found if len(found) <= 60 else f"{found[:57]}..."
