"""Tokens a second of one training step of a model from nothing, beside two others. `make bench-pretrain`.

Ours (``pipelines/models/transformer.py``), a GPT-2 as nanoGPT builds it (written here from its description: learned
positions, LayerNorm without bias, one matrix for query, key and value, GELU of width 4, tied embeddings), and
transformers' Llama of our shape. All take the same step (cross-entropy, clipping, fused AdamW) on the same tokens in
one process, in turn (A B C A B C …), so that a machine whose speed drifts slows all. Each is run as it is and compiled.
The others compute under autocast, as nanoGPT and transformers' Trainer do; ours is measured so, and as the suite trains
it, with weights in bfloat16 and their sums in float32 (``finetune/pretraining/precision.py``). MFU is the share of the
matmul speed that this machine reaches here. Its last line is one JSON object.

On a GPU: python3 bench/pretraining.py --device cuda --out result.json
"""

import argparse
import gc
import importlib
import importlib.util
import itertools
import json
import math
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

SHAPES: dict[str, dict[str, int]] = {
    "tiny": {"vocab_size": 4096, "embedding_dim": 256, "num_heads": 4, "num_layers": 4, "length": 512},
    "classic": {"vocab_size": 10_000, "embedding_dim": 512, "num_heads": 8, "num_layers": 6, "length": 512},
    "gpu": {"vocab_size": 32_768, "embedding_dim": 768, "num_heads": 12, "num_layers": 11, "length": 1024},
    "smoke": {"vocab_size": 300, "embedding_dim": 32, "num_heads": 2, "num_layers": 2, "length": 32},
}
TOKENS = {"cpu": 2048, "cuda": 65_536}
"""Tokens of a step on each device; a smoke run takes 64."""

ROOT = Path(__file__).resolve().parent.parent

Loss = Callable[[Tensor, Tensor], Tensor]


def main() -> None:
    """Measure what was asked for and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", choices=["bfloat16", "float32"], default="bfloat16")
    parser.add_argument("--shapes", nargs="*", choices=list(SHAPES), help="by default those that suit the device")
    parser.add_argument("--modes", nargs="*", choices=["eager", "compiled"], default=["compiled", "eager"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=0, help="of each side in each round")
    parser.add_argument("--tokens", type=int, default=0, help="of a step")
    parser.add_argument("--seconds", type=float, default=75.0, help="no further side is begun after this long")
    parser.add_argument("--out", help="a file for the JSON object, too")
    options = parser.parse_args()
    options.ends = time.monotonic() + options.seconds
    began = time.monotonic()
    cuda = options.device.startswith("cuda")
    own("finetune.pretraining.allocator").keep_large_blocks()  # for all sides
    if cuda:
        torch.set_float32_matmul_precision("high")
    peak = matmul_speed(options.device, getattr(torch, options.dtype))
    result: dict[str, Any] = {
        "schema_version": 1,
        "device": torch.cuda.get_device_name(options.device) if cuda else platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "dtype": options.dtype,
        "matmul_tflops": round(peak / 1e12, 3),
        "versions": {"torch": torch.__version__, "python": platform.python_version()},
        "shapes": {},
    }
    for name in options.shapes or (["classic", "gpu"] if cuda else ["tiny", "classic"]):
        shape = SHAPES[name]
        tokens = options.tokens or (64 if name == "smoke" else TOKENS["cuda" if cuda else "cpu"])
        found = measured(shape, options, tokens, peak)
        result["shapes"][name] = {"shape": shape, "tokens_of_a_step": tokens, **found}
        for side, each in found["sides"].items():
            print(f"{name:8} {side:26}" + "  ".join(f"{key} {value}" for key, value in each.items()), flush=True)
        print(f"{name:8} ours / the faster of both: {found['ratio']}", flush=True)
    try:
        import transformers

        result["versions"]["transformers"] = transformers.__version__
    except ImportError:
        pass
    result["seconds"] = round(time.monotonic() - began, 1)
    line = json.dumps(result)
    if options.out:
        Path(options.out).write_text(line + "\n", encoding="utf-8")
    print(line)


def measured(shape: dict[str, int], options: argparse.Namespace, tokens: int, peak: float) -> dict[str, Any]:
    """All sides at one shape, in turn."""
    rows = max(1, tokens // shape["length"])
    draw = torch.Generator().manual_seed(0)
    drawn = torch.randint(shape["vocab_size"], (rows, shape["length"] + 1), generator=draw).to(options.device)
    batch = drawn[:, :-1].contiguous(), drawn[:, 1:].contiguous()
    sides: dict[str, Side] = {}
    failed: dict[str, str] = {}
    for mode, (name, build) in itertools.product(options.modes, BUILDERS.items()):
        if (model := build(shape)) is None or (name == "ours" and options.dtype == "float32"):
            continue
        if time.monotonic() > options.ends:
            failed[f"{name} {mode}"] = "left out: the time is over"
            continue
        began = time.monotonic()
        try:
            side = Side(model.to(options.device), options, compiled=mode == "compiled", master=name == "ours")
            side.steps(batch, 2)
            sides[f"{name} {mode}"] = side
        except Exception as error:  # a machine without a compiler, or a GPU without the memory: the others count
            failed[f"{name} {mode}"] = " ".join(str(error).split())[:200]
        print(f"{name} {mode}: ready after {time.monotonic() - began:.1f} s", file=sys.stderr, flush=True)
    steps = options.steps or (10 if options.device.startswith("cuda") else 2)
    times: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(options.rounds):
        for name, side in sides.items():
            times[name].append(side.steps(batch, steps) / steps)
    found = {}
    for name, side in sides.items():
        rate = rows * shape["length"] / statistics.median(times[name])
        found[name] = {
            "tokens_per_s": round(rate, 1),
            "best": round(rows * shape["length"] / min(times[name]), 1),
            "mfu": round(rate * side.operations(shape) / peak, 4),
            "weights": side.weights,
            "loss": round(side.loss, 4),
        }
    best = {
        who: max(
            (each["tokens_per_s"] for name, each in found.items() if name.rpartition(" ")[0] == who), default=math.nan
        )
        for who in ("ours", "nanogpt", "llama")
    }
    others = [rate for who, rate in best.items() if who != "ours" and not math.isnan(rate)]
    ratio = round(best["ours"] / max(others), 3) if others else None
    del sides
    gc.collect()
    if options.device.startswith("cuda"):
        torch.cuda.empty_cache()
    torch.compiler.reset()
    return {"sides": found, "ratio": ratio, **({"failed": failed} if failed else {})}


class Side:
    """A model with its optimizer."""

    def __init__(self, model: nn.Module, options: argparse.Namespace, *, compiled: bool, master: bool) -> None:
        self.model, self.options, self.loss = model, options, math.nan
        self.weights = sum(weight.numel() for weight in model.parameters())
        dtype = torch.bfloat16 if master else torch.float32
        self.autocast = options.dtype == "bfloat16" and not master
        self.optimizer = own("finetune.pretraining.precision").MasterWeights(model, dtype, adamw)
        self.loss_of: Loss = torch.compile(self._loss) if compiled else self._loss

    def _loss(self, tokens: Tensor, targets: Tensor) -> Tensor:
        logits = self.model(tokens)
        return functional.cross_entropy(logits.flatten(0, 1).float(), targets.flatten())

    def steps(self, batch: tuple[Tensor, Tensor], count: int) -> float:
        """Train; returns the seconds."""
        kind = torch.device(self.options.device).type
        synchronize(self.options.device)
        began = time.perf_counter()
        for _ in range(count):
            with torch.autocast(kind, torch.bfloat16, enabled=self.autocast):
                loss = self.loss_of(*batch)
            loss.backward()
            self.optimizer.step(1e-4, 1.0)
        synchronize(self.options.device)
        seconds = time.perf_counter() - began
        self.loss = float(loss.detach())
        return seconds

    def operations(self, shape: dict[str, int]) -> float:
        """Of a token, forward and backward: 6 for each weight that is multiplied, and causal attention."""
        looked_up = shape["length"] * shape["embedding_dim"] if isinstance(self.model, NanoGPT) else 0
        return 6 * (self.weights - looked_up) + 6 * shape["num_layers"] * shape["embedding_dim"] * shape["length"]


def own(name: str) -> Any:
    """A module of the suite; from its file alone where the libraries of its package are not installed."""
    if name in sys.modules:
        return sys.modules[name]
    try:
        return importlib.import_module(name)
    except ImportError:
        path = ROOT.joinpath(*name.split(".")).with_suffix(".py")
        alone = name.rpartition(".")[2]
        spec = importlib.util.spec_from_file_location(alone, path)
        assert spec is not None
        assert spec.loader is not None
        module = sys.modules[alone] = sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module


def adamw(named: Any) -> torch.optim.Optimizer:
    return torch.optim.AdamW([weight for _, weight in named], lr=1e-4, betas=(0.9, 0.95), fused=True)


def ours(shape: dict[str, int]) -> nn.Module:
    """The suite's model."""
    torch.manual_seed(0)
    model = own("pipelines.models.transformer").TransformerModel
    return model(*(shape[name] for name in ("vocab_size", "embedding_dim", "num_heads", "num_layers")))


class NanoLayer(nn.Module):
    """Attention and a feed-forward part, each behind a LayerNorm."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.first, self.second = nn.LayerNorm(width, bias=False), nn.LayerNorm(width, bias=False)
        self.qkv, self.out = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)
        self.up, self.down = nn.Linear(width, 4 * width, bias=False), nn.Linear(4 * width, width, bias=False)

    def forward(self, hidden: Tensor) -> Tensor:  # noqa: D102
        batch, length, width = hidden.shape
        parts = self.qkv(self.first(hidden)).split(width, dim=2)
        query, key, value = (part.view(batch, length, self.heads, -1).transpose(1, 2) for part in parts)
        found = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        hidden = hidden + self.out(found.transpose(1, 2).reshape(batch, length, width))
        return hidden + self.down(functional.gelu(self.up(self.second(hidden))))


class NanoGPT(nn.Module):
    """GPT-2 as nanoGPT builds it."""

    def __init__(self, vocab_size: int, width: int, heads: int, layers: int, length: int) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(vocab_size, width), nn.Embedding(length, width)
        self.layers = nn.ModuleList(NanoLayer(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width, bias=False)
        for weight in self.parameters():
            if weight.dim() > 1:
                nn.init.normal_(weight, std=0.02)

    def forward(self, tokens: Tensor) -> Tensor:  # noqa: D102
        hidden = self.tokens(tokens) + self.positions(torch.arange(tokens.shape[1], device=tokens.device))
        for layer in self.layers:
            hidden = layer(hidden)
        return functional.linear(self.norm(hidden), self.tokens.weight)


def nanogpt(shape: dict[str, int]) -> nn.Module:
    torch.manual_seed(0)
    return NanoGPT(*(shape[name] for name in ("vocab_size", "embedding_dim", "num_heads", "num_layers", "length")))


def llama(shape: dict[str, int]) -> nn.Module | None:
    """Transformers' Llama with the same parts as ours; None where transformers is not installed."""
    try:
        from transformers import LlamaConfig, LlamaForCausalLM
    except ImportError:
        return None
    torch.manual_seed(0)
    width = shape["embedding_dim"]
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=shape["vocab_size"],
            hidden_size=width,
            intermediate_size=64 * math.ceil(width * 8 / 3 / 64),
            num_hidden_layers=shape["num_layers"],
            num_attention_heads=shape["num_heads"],
            max_position_embeddings=shape["length"],
            tie_word_embeddings=True,
            use_cache=False,
            attn_implementation="sdpa",
        )
    )

    class Logits(nn.Module):
        """Tokens in, logits out, as the others."""

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, tokens: Tensor) -> Tensor:
            return self.model(input_ids=tokens).logits

    return Logits()


BUILDERS = {"ours": ours, "nanogpt": nanogpt, "llama": llama, "ours (autocast)": ours}
"""Names of the sides; the first one trains as the suite does."""


def matmul_speed(device: str, dtype: torch.dtype) -> float:
    """Operations a second of large products on this device: the best of some sizes."""
    best = 0.0
    for size in (4096, 8192) if device.startswith("cuda") else (512, 1024):
        left = torch.randn(size, size, device=device, dtype=dtype)
        right = torch.randn(size, size, device=device, dtype=dtype)
        count = 20 if device.startswith("cuda") else 8
        for _ in range(4):
            left @ right
            synchronize(device)
            began = time.perf_counter()
            for _ in range(count):
                left @ right
            synchronize(device)
            best = max(best, count * 2 * size**3 / (time.perf_counter() - began))
    return best


def synchronize(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    main()
