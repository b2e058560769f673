"""A recipe for a model from nothing, as a YAML file that says only what differs from the defaults here."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from finetune.data.config import Share
from finetune.recipe import RECIPES, parsed_recipe, read_recipe
from pipelines.tasks import TASKS

__all__ = [
    "BlockConfig",
    "ChatConfig",
    "DocumentSource",
    "DocumentsConfig",
    "ModelConfig",
    "PretrainRecipe",
    "SampleConfig",
    "TextTrainingConfig",
    "TokenizerConfig",
    "load_pretrain_recipe",
]

Positive = Annotated[int, Field(ge=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DocumentSource(_Strict):
    """Where documents come from."""

    path: str
    """A file (``.txt``, ``.md``, ``.jsonl``, ``.csv``, ``.parquet``, ``.gz`` after it), a data set of the Hub
    (``hub:org/name[@revision]``, streamed), a set of ``cinquain data fetch`` (``public:shakespeare``), or counting
    rhymes that are made up here (``rhymes:5000``, how many)."""
    otherwise: str = ""
    """The path to take where a public set cannot be had."""
    column: str = "text"
    """Column of the rows that holds the text."""
    group: str = ""
    """Column whose rows belong together (a book): all of them are learned from, or all are held out."""
    limit: Positive | None = None
    encoding: str | None = None
    subset: str | None = None
    hub_split: str = "train"


class DocumentsConfig(_Strict):
    """What is read, and what is done with it.

    In this order: read, repair, normalize, length, personal data, exact duplicates, divide.
    """

    sources: Annotated[list[DocumentSource], Field(min_length=1)]
    min_characters: Positive = 20
    """Shorter documents are dropped."""
    personal_data: Literal["redact", "keep"] = "redact"
    held_out: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.05
    """Share of the documents that is never learned from; a document's group decides by its hash."""
    seed: int = 0

    @field_validator("sources", mode="before")
    @classmethod
    def _bare_paths(cls, values: Any) -> Any:
        return (
            [{"path": each} if isinstance(each, str) else each for each in values] if type(values) is list else values
        )


class TokenizerConfig(_Strict):
    """Byte-level BPE (Sennrich et al. 2016, arXiv:1508.07909; over bytes as in GPT-2), trained on the documents."""

    vocabulary: Annotated[int, Field(ge=300, le=4_000_000)] = 4_096
    """Tokens, the 256 bytes and the special ones among them."""
    sample_characters: Positive = 200_000_000
    """Most text that is looked at; evenly spread documents where there is more."""


class ModelConfig(_Strict):
    """The size of ``pipelines.models.transformer.TransformerModel``."""

    embedding_dim: Positive = 256
    num_heads: Positive = 4
    num_layers: Positive = 4
    hidden_dim: Positive | None = None
    """8/3 of ``embedding_dim`` where None, see ``TransformerModel``."""

    @model_validator(mode="after")
    def _divides(self) -> "ModelConfig":
        if self.embedding_dim % (2 * self.num_heads):
            raise ValueError(f"embedding_dim {self.embedding_dim} is no multiple of twice num_heads {self.num_heads}")
        return self


class BlockConfig(_Strict):
    """How text is cut for training."""

    length: Annotated[int, Field(ge=8)] = 512
    """Tokens of a block: what the model reads at once, while it is trained and ever after."""


class _Steps(_Strict):
    epochs: Annotated[float, Field(gt=0)] = 1.0
    max_steps: Positive | None = None
    """Instead of epochs."""
    batch_size: Positive = 16
    """Blocks (chats) of one optimizer step, all processes together."""
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    warmup: Share = 0.05
    """Share of the steps in which the learning rate rises from 0."""
    final: Annotated[float, Field(ge=0.0, le=1.0)] = 0.1
    """Share of the learning rate at which the cosine ends (Hoffmann et al. 2022, arXiv:2203.15556)."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.1
    """Of matrices; norms have none."""
    betas: tuple[Share, Share] = (0.9, 0.95)
    """Of AdamW; 0.95 forgets a bad step sooner than the usual 0.999 (Brown et al. 2020, arXiv:2005.14165)."""
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    evaluate: Annotated[int, Field(ge=0)] = 0
    """Steps between two evaluations and checkpoints; 0 takes a tenth of the run."""


class TextTrainingConfig(_Steps):
    """How the model learns from text."""

    pass_blocks: Positive | None = None
    """Blocks of one forward pass; changes memory and time and not the result. None takes what suits the device."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    device: str = "auto"
    """``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps``; with several processes each takes its own."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """bfloat16 where the processor has instructions for it, else float32. The weights themselves are float32."""
    compile: Literal["auto", "on", "off"] = "auto"
    """torch.compile; ``auto`` does on CUDA."""
    evaluation_blocks: Positive = 64
    """Most held-out blocks of an evaluation."""


class SampleConfig(_Strict):
    """What the model is asked to continue at every evaluation, to see it learn."""

    prompts: list[str] = Field(default_factory=lambda: [""])
    """Beginnings; an empty one is the beginning of a document."""
    tokens: Annotated[int, Field(ge=0)] = 60
    temperature: Annotated[float, Field(ge=0.0)] = 0.8


def _rows(task: str) -> list[str]:
    """What a task's chats are where a recipe does not say it."""
    return [*(["documents"] if task == "creative_writing" else []), f"shipped:{task}"]


class ChatConfig(_Steps):
    """The second training, on chats of the tasks: after it the model answers."""

    rows: dict[str, list[str]] = Field(default_factory=lambda: {task: _rows(task) for task in TASKS})
    """Task → sources of its rows, as in a fine-tuning recipe. ``documents`` are those of the first training that are
    rows of creative writing: a public set, rhymes."""
    excerpt: Positive | None = None
    """Most characters of a reply from a public set or of a rhyme, cut between paragraphs; None takes them whole, and
    those that are too long for a block are dropped."""
    epochs: Annotated[float, Field(gt=0)] = 2.0
    batch_size: Positive = 32
    learning_rate: Annotated[float, Field(gt=0)] = 5e-4
    held_out: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.1

    @field_validator("rows")
    @classmethod
    def _known_tasks(cls, rows: dict[str, list[str]]) -> dict[str, list[str]]:
        if unknown := sorted(set(rows) - set(TASKS)):
            raise ValueError(f"no such task: {', '.join(unknown)}; there are {', '.join(TASKS)}")
        return rows


class PretrainRecipe(_Strict):
    """Text, and the model to make of it.

    What is not said in a recipe has the value that stands here.
    """

    output: str
    """Folder of the model."""
    documents: DocumentsConfig
    tokenizer: TokenizerConfig = TokenizerConfig()
    model: ModelConfig = ModelConfig()
    blocks: BlockConfig = BlockConfig()
    training: TextTrainingConfig = TextTrainingConfig()
    samples: SampleConfig = SampleConfig()
    chat: ChatConfig | None = ChatConfig()
    """None leaves the model as the text made it."""


def load_pretrain_recipe(path: Path, changes: Mapping[str, Any] | None = None) -> PretrainRecipe:
    """Read a recipe. Files that it names are looked for beside it; those of a recipe that ships, in the working folder.

    Args:
        path: YAML file.
        changes: Values that replace the file's: dotted name → value (``training.epochs``).

    Raises:
        InputError: The file cannot be read, is no recipe or one for ``cinquain finetune``
            (``recipe_for_finetune``), or has a key that does not exist, with the nearest names.
    """
    folder = Path() if path.parent.resolve() == RECIPES else path.parent

    def placed(data: dict[str, Any]) -> dict[str, Any]:
        if isinstance(documents := data.get("documents"), dict) and isinstance(documents.get("sources"), list):
            sources = [_beside(source, folder) for source in documents["sources"]]
            data = {**data, "documents": {**documents, "sources": sources}}
        return data

    return parsed_recipe(PretrainRecipe, read_recipe(path, changes, placed, kind="pretrain"))


def _beside(source: Any, folder: Path) -> Any:
    """A source with its file named from the working folder."""
    plain = {"path": source} if isinstance(source, str) else source
    if not isinstance(plain, dict):
        return source
    files = {
        name: str(folder / Path(plain[name]).expanduser())
        for name in ("path", "otherwise")
        if isinstance(plain.get(name), str)
        and plain[name]
        and not plain[name].startswith(("hub:", "public:", "rhymes"))
    }
    return {**plain, **files}
