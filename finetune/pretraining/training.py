"""The two trainings of a run: on text, then on chats."""

import math
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

import torch

from finetune.pretraining.allocator import keep_large_blocks
from finetune.pretraining.blocks import Blocks
from finetune.pretraining.chats import Chats, order, prepare_chats
from finetune.pretraining.distribution import Distribution
from finetune.pretraining.documents import read_accounts
from finetune.pretraining.learning import Batch, Journal, Settings, learn, summed_loss
from finetune.pretraining.origins import chat_sources
from finetune.pretraining.progress import PretrainProgress
from finetune.pretraining.recipe import PretrainRecipe
from finetune.pretraining.result import ModelFolder, save_model
from finetune.pretraining.tokenizer import load_tokenizer
from finetune.training.plot import draw
from finetune.training.processes import Processes
from finetune.training.run import stoppable
from pipelines.engines.device import DeviceChoice
from pipelines.models.conversion import quiet_transformers
from pipelines.models.llama_format import from_llama
from pipelines.models.transformer import TransformerModel
from pipelines.provenance import environment

__all__ = ["Run"]

_PACKAGES = ("torch", "transformers", "tokenizers", "accelerate", "safetensors", "numpy")
_PASS_TOKENS = {"cpu": 4_096, "mps": 8_192, "cuda": 65_536}
"""Tokens of one forward pass where the recipe does not say it."""


class Run:
    """The two trainings of a run.

    Args:
        recipe: The recipe.
        folder: Folder of the run, with its documents, tokenizer and blocks.
        choice: Device and number format.
        processes: The processes of the run.
        progress: Shows the steps.
    """

    def __init__(
        self,
        recipe: PretrainRecipe,
        folder: ModelFolder,
        choice: DeviceChoice,
        processes: Processes,
        progress: PretrainProgress,
    ) -> None:
        self.recipe, self.folder, self.choice, self.processes = recipe, folder, choice, processes
        self.progress, self.work = progress, folder.work
        self.tokenizer = load_tokenizer(self.work / "tokenizer")
        self.length = recipe.blocks.length
        self.blocks = {part: Blocks.open(self.work / "blocks", part, self.length) for part in ("train", "held_out")}
        self._shape: dict[str, Any] = {**recipe.model.model_dump(), "vocab_size": len(self.tokenizer)}
        with torch.device("meta"):
            self._weights = sum(weight.numel() for weight in TransformerModel(**self._shape).parameters())
        self._chats: Chats | None = None
        self.distribution = Distribution(
            processes.wait,
            device=choice.device,
            rank=processes.rank,
            count=processes.count,
            sharded=processes.sharded,
        )
        if choice.kind == "cpu":
            keep_large_blocks()
        elif choice.kind == "cuda":
            torch.set_float32_matmul_precision("high")

    def text(self) -> dict[str, Any]:
        """The first training, on text; its model is kept in ``pretrained``."""
        config, train = self.recipe.training, self.blocks["train"]
        steps = config.max_steps or max(1, math.ceil(config.epochs * len(train) / config.batch_size))
        settings = self._settings(config, steps, compiled=self._compiles())
        share = config.batch_size // self.processes.count
        size = min(share, config.pass_blocks or max(1, _PASS_TOKENS[self.choice.kind] // self.length))

        def batch(step: int) -> Batch:
            places = order(len(train), config.batch_size, step, config.seed)[
                self.processes.rank :: self.processes.count
            ]
            parts = [torch.from_numpy(train[places[start : start + size]]) for start in range(0, share, size)]
            return [(part[:, :-1], part[:, 1:]) for part in parts]

        held_out = self.blocks["held_out"]
        every = max(1, len(held_out) // config.evaluation_blocks)
        judged = list(range(0, len(held_out), every))[: config.evaluation_blocks]

        def evaluate(model: torch.nn.Module, step: int) -> dict[str, Any]:
            passes = []
            for start in range(0, len(judged), size):
                part = torch.from_numpy(held_out[judged[start : start + size]])
                passes.append((part[:, :-1], part[:, 1:]))
            loss = self._loss(model, passes)
            figures = {"eval_loss": loss, "bits_per_byte": loss / math.log(2) / held_out.bytes_per_token}
            return {**figures, "samples": self._samples(model, step)}

        if (self.work / "pretrained").is_dir():
            weights = None
        else:
            torch.manual_seed(config.seed)
            model = TransformerModel(**self._shape).to(self.choice.device)
            weights = self._learn("text", model, batch, evaluate, settings, config.batch_size * self.length)
            if self.processes.first:
                self._keep(weights, "pretrained", chats=False)
        self.processes.wait()
        return {
            "steps": steps,
            "tokens": steps * config.batch_size * self.length,
            "training_tokens": len(train.tokens),
            "held_out_tokens": len(held_out.tokens),
            "bytes_per_token": round(held_out.bytes_per_token, 4),
            "compiled": settings.compiled,
            **self._last("text", "loss", "eval_loss", "bits_per_byte"),
        }

    def chats(self) -> dict[str, Any]:
        """The second training, on chats; its model is kept in ``answering``."""
        config = self.recipe.chat
        assert config is not None
        if self.processes.first:
            chats = self._prepared_chats()
            self.processes.wait()
        else:
            self.processes.wait()
            chats = self._prepared_chats()
        steps = config.max_steps or max(1, math.ceil(config.epochs * len(chats) / config.batch_size))
        settings = self._settings(config, steps, compiled=False)  # each pass has another shape
        tokens = _PASS_TOKENS[self.choice.kind]

        def batch(step: int) -> Batch:
            places = order(len(chats), config.batch_size, step, self.recipe.training.seed)
            return chats.passes(places[self.processes.rank :: self.processes.count], tokens)

        def evaluate(model: torch.nn.Module, step: int) -> dict[str, Any]:
            losses = {task: self._loss(model, chats.judged(task, tokens)) for task in chats.held_out}
            mean = sum(losses.values()) / len(losses) if losses else math.nan
            return {"eval_loss": mean, "tasks": losses}

        if not (self.work / "answering").is_dir():
            from transformers import LlamaForCausalLM

            with quiet_transformers():
                llama = LlamaForCausalLM.from_pretrained(self.work / "pretrained")
            model = from_llama(llama).to(self.choice.device)
            weights = self._learn("chat", model, batch, evaluate, settings, config.batch_size * self.length)
            if self.processes.first:
                self._keep(weights, "answering", chats=True)
        self.processes.wait()
        figures = self._last("chat", "loss", "eval_loss", "tasks")
        return {"steps": steps, "rows": chats.rows, "data_sha256": chats.sha256, **figures}

    def publish(self) -> None:
        """Put the model in its place."""
        name = "answering" if self.recipe.chat else "pretrained"
        self.folder.publish(self.work / name)
        draw(Journal(self.folder.log, "text").entries(), self.folder.plot)

    def provenance(self) -> dict[str, Any]:
        """Where the model came from."""
        from pipelines.models.fingerprint import file_sha256

        return {
            "weights_sha256": file_sha256(self.folder.path / "model.safetensors"),
            "tokenizer_sha256": file_sha256(self.folder.path / "tokenizer.json"),
            "blocks_sha256": {part: blocks.sha256 for part, blocks in self.blocks.items()},
            "documents": [asdict(account) for account in read_accounts(self.work / "documents")],
            "vocabulary": len(self.tokenizer),
            "weights": self._weights,
            "device": self.choice.device,
            "dtype": self.choice.label,
            "processes": self.processes.count,
            "recipe": self.recipe.model_dump(mode="json"),
            **environment(),
            "packages": {name: version(name) for name in _PACKAGES},
            "command": sys.argv,
        }

    def _prepared_chats(self) -> Chats:
        if self._chats is None:
            assert self.recipe.chat is not None
            sources = chat_sources(self.recipe, self.work / "sources", self.progress)
            self._chats = prepare_chats(
                sources,
                self.work / "pretrained",
                self.length,
                self.recipe.chat.held_out,
                self.work / "chats",
                self.progress,
            )
        return self._chats

    def _learn(
        self,
        stage: str,
        model: torch.nn.Module,
        batch: Callable[[int], Batch],
        evaluate: Callable[[torch.nn.Module, int], dict[str, Any]],
        settings: Settings,
        tokens: int,
    ) -> dict[str, Any]:
        began = time.process_time()
        with (
            self.progress.steps(f"pretrain_steps_{stage}", settings.steps, tokens) as show,
            stoppable(lambda: self.progress.say("training_stopping")) as wants_stop,
        ):
            journal = Journal(self.folder.log, stage, show)
            checkpoints = self.work / f"checkpoints-{stage}"
            weights = learn(model, batch, evaluate, settings, checkpoints, journal, self.distribution, wants_stop)
        if self.processes.first:
            journal.show = lambda entry: None
            journal.add({"step": settings.steps, "processor_s": round(time.process_time() - began, 1)})
        return weights

    def _keep(self, weights: dict[str, Any], name: str, *, chats: bool) -> None:
        model = TransformerModel(**self._shape)
        model.load_state_dict(weights)
        save_model(model, self.tokenizer, self.work / name, self.length, chats=chats)

    def _settings(self, config: Any, steps: int, *, compiled: bool) -> Settings:
        return Settings(
            steps=steps,
            learning_rate=config.learning_rate,
            warmup=config.warmup,
            final=config.final,
            weight_decay=config.weight_decay,
            betas=config.betas,
            max_grad_norm=config.max_grad_norm,
            evaluate=config.evaluate or max(1, steps // 10),
            device=self.choice.device,
            dtype=self.choice.dtype,
            compiled=compiled,
        )

    def _compiles(self) -> bool:
        chosen = self.recipe.training.compile
        # Its kernels are started by a little C program, which has to be compiled.
        compiler = any(map(shutil.which, ("cc", "gcc", "clang")))
        return self.choice.kind == "cuda" and compiler if chosen == "auto" else chosen == "on"

    @torch.no_grad()
    def _loss(self, model: torch.nn.Module, passes: Batch) -> float:
        """Mean loss of the tokens that carry it."""
        model.eval()
        total, count = 0.0, 0
        for tokens, targets in passes:
            total += float(summed_loss(model, tokens.to(self.choice.device), targets.to(self.choice.device)))
            count += int((targets >= 0).sum())
        return total / max(1, count)

    def _samples(self, model: torch.nn.Module, step: int) -> list[str]:
        """What the model writes behind the recipe's beginnings; the same for the same step."""
        config = self.recipe.samples
        if not config.tokens or self.distribution.sharded:
            return []
        found = []
        for prompt in config.prompts:
            ids = [self.tokenizer.bos_token_id, *self.tokenizer.encode(prompt, add_special_tokens=False)]
            draw_from = torch.Generator(self.choice.device).manual_seed(step)
            given = torch.tensor([ids], device=self.choice.device)
            written = model.generate(given, config.tokens, config.temperature, draw_from)  # type: ignore[operator]
            text = self.tokenizer.decode(written[0, 1:].tolist())
            found.append(text.partition(self.tokenizer.bos_token)[0])
        return found

    def _last(self, stage: str, *names: str) -> dict[str, Any]:
        """The last value of each figure in the log."""
        entries = Journal(self.folder.log, stage).entries()
        return {name: next((each[name] for each in reversed(entries) if name in each), None) for name in names}
