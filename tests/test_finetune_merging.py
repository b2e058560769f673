"""A merged model says what base and adapter said, and a merge that changed it does not pass the gate."""

import json
import os
import resource
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from finetune import merging
from finetune.data.row import Row
from finetune.merging import REPORT, merge
from pipelines import InputError, Prompt, pipeline
from pipelines.errors import CinquainError
from pipelines.models.fingerprint import MERGED_FILE_NAME, read
from tests.doubles.serving import serving
from tests.doubles.tiny import tiny_chat_model
from tests.doubles.tiny_adapters import QUESTIONS, sign, tiny_adapter, turned

pytestmark = pytest.mark.filterwarnings("ignore")  # PEFT on tied embeddings

BARE = Prompt(task="dialogue", version=50, templates={"system": ""})
ROWS = [
    Row(f"rows:{n}", {"messages": [{"role": "user", "content": question}]}, answer, f"rows:{n}", "rows")
    for n, (question, answer) in enumerate(turned(1))
]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_chat_model(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture(scope="module", params=["lora", "dora"])
def adapter(request: pytest.FixtureRequest, base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adapter") / request.param
    tiny_adapter(base, folder, turned(1), use_dora=request.param == "dora")
    sign(folder, base, prompt=BARE)
    return folder


def texts(model: Path, adapter: Path | None = None) -> list[str]:
    chat = pipeline("dialogue", str(model), str(adapter) if adapter else None, dtype="float32")
    return [chat(**row.request, temperature=0).text for row in ROWS]


def test_the_merged_model_says_what_the_adapter_said(base: Path, adapter: Path, tmp_path: Path) -> None:
    out = tmp_path / "out" / "merged"
    gate = merge(adapter, out, ROWS)
    assert gate.passed
    assert (gate.rows, gate.dtype, gate.agreement) == (len(ROWS), "float32", 1.0)
    assert 0 < gate.logit_difference < 1e-3
    assert texts(out) == texts(base, adapter) == [answer for _, answer in turned(1)]
    assert texts(out) != texts(base)
    report = json.loads((out / REPORT).read_bytes())
    assert (report["schema_version"], report["passed"]) == (1, True)
    assert [path.name for path in out.parent.iterdir()] == ["merged"]


def test_it_is_served_with_the_prompt_it_was_trained_with(adapter: Path, tmp_path: Path) -> None:
    out = tmp_path / "merged"
    merge(adapter, out, ROWS)
    chat = pipeline("dialogue", str(out), dtype="float32")
    assert chat.wording()[1] == BARE
    assert read(out, MERGED_FILE_NAME) == read(adapter)
    other = pipeline("dialogue", str(out), dtype="float32", prompt=BARE.model_copy(update={"version": 51}))
    with pytest.raises(InputError) as caught:
        other(messages=[{"role": "user", "content": QUESTIONS[0]}])
    assert caught.value.code == "prompt_differs"
    assert pipeline("translation", str(out), dtype="float32").wording()[1].task == "translation"


def test_a_merge_that_changed_the_model_fails_the_gate_and_stays(
    base: Path, adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipelines.models import conversion

    honest = conversion.save_model

    def spoiling(model: object, tokenizer: object, folder: Path) -> None:
        honest(model, tokenizer, folder)
        weights = load_file(folder / "model.safetensors")
        name = next(name for name in weights if name.endswith("layers.0.mlp.down_proj.weight"))
        weights[name] = torch.zeros_like(weights[name])  # a layer that was left out
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})

    monkeypatch.setattr(conversion, "save_model", spoiling)
    gate = merge(adapter, tmp_path / "merged", ROWS)
    assert not gate.passed
    assert gate.logit_difference > gate.logit_limit
    assert json.loads((tmp_path / "merged" / REPORT).read_bytes())["passed"] is False
    assert (tmp_path / "merged" / "model.safetensors").is_file()
    assert (adapter / "adapter_model.safetensors").is_file()
    assert texts(base, adapter) == [answer for _, answer in turned(1)]


def test_a_server_of_others_gives_the_same_answers(adapter: Path, tmp_path: Path) -> None:
    out = tmp_path / "merged"
    merge(adapter, out, ROWS)
    with serving(out, tmp_path / "log.txt") as reference:
        chat = pipeline("dialogue", reference, prompt=BARE, context_length=2048)
        replies = [chat(**row.request, temperature=0, max_new_tokens=24).text for row in ROWS]
    assert replies == [answer for _, answer in turned(1)]


def error_of(adapter: Path, out: Path, rows: list[Row] = ROWS, **options: str) -> str:
    with pytest.raises(CinquainError) as caught:
        merge(adapter, out, rows, **options)
    assert "\n" not in str(caught.value)
    return caught.value.code


def test_bad_input_is_one_sentence_and_writes_nothing(base: Path, adapter: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    assert error_of(adapter, tmp_path / "full") == "merge_out_exists"
    assert error_of(adapter, tmp_path / "full" / "file") == "merge_out_exists"
    assert error_of(adapter, tmp_path / "out", []) == "merge_no_rows"
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        (bare / name).write_bytes((adapter / name).read_bytes())
    assert error_of(bare, tmp_path / "out") == "merge_no_fingerprint"
    other = shutil.copytree(base, tmp_path / "other")
    save_file(
        {name: 2 * each for name, each in load_file(base / "model.safetensors").items()}, other / "model.safetensors"
    )
    assert error_of(adapter, tmp_path / "out", model=str(other)) == "adapter_other_base"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bare", "full", "other"]


def test_an_empty_folder_is_filled(adapter: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    assert merge(adapter, tmp_path / "out", ROWS[:1]).passed


def test_a_full_disk_is_one_sentence_and_leaves_nothing(adapter: Path, tmp_path: Path) -> None:
    child = os.fork()
    if not child:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, -1))
        code = error_of(adapter, tmp_path / "out")
        os._exit(0 if code == "disk_full" else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert list(tmp_path.iterdir()) == []


def test_limits_are_known_for_each_number_format() -> None:
    assert merging._LIMITS.keys() == merging._AGREEMENT.keys() == {"float32", "bfloat16", "float16"}
