"""``cinquain push``: what goes to the Hub, what never does, and every refusal in one sentence."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from apps.cli.main import main
from finetune.judging.card import licence_of
from finetune.merging import REPORT, merge
from finetune.pushing import public_files, push
from finetune.training.prepared import rows_of
from pipelines import InputError, pipeline
from pipelines.errors import CinquainError
from pipelines.models import resolve_adapter
from pipelines.models.catalog import entries
from pipelines.models.fingerprint import FILE_NAME, MERGED_FILE_NAME, Fingerprint, write
from tests.doubles.fake_hub import Answer, use_hub
from tests.doubles.training_rows import finished_adapter
from tests.doubles.writable_hub import WritableHub

pytestmark = pytest.mark.filterwarnings("ignore")  # PEFT on tied embeddings

SENT = {"README.md", "adapter_config.json", "adapter_model.safetensors", "cinquain_adapter.json", "results.json"}


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finished_adapter(tmp_path_factory.mktemp("adapter"))


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WritableHub]:
    with WritableHub() as hub:
        use_hub(hub, tmp_path, monkeypatch)
        monkeypatch.setenv("HF_TOKEN", "hf_ada")
        yield hub


def head(hub: WritableHub, name: str) -> dict[str, bytes]:
    repository = hub.repositories[name]
    return repository.commits[repository.branches["main"]]


def refusal(adapter: Path, to: str = "ada/tiny") -> str:
    with pytest.raises(CinquainError) as caught:
        push(adapter, to)
    assert str(caught.value).endswith(".")
    return caught.value.code


def test_an_adapter_goes_private_without_rows_replies_and_paths(adapter: Path, hub: WritableHub) -> None:
    done = push(adapter, "ada/tiny")
    found = head(hub, "ada/tiny")
    assert SENT <= set(found) == set(done.files) <= SENT | {"loss.png"}
    assert hub.repositories["ada/tiny"].private
    assert done.address == f"{hub.url}/ada/tiny"
    private = [row.reply for row in rows_of(adapter / "data" / "train.jsonl")]
    for name, data in found.items():
        assert str(adapter.parent).encode() not in data
        assert not any(text.encode() in data for text in private if len(text) > 8), name
    assert json.loads(found["results.json"])["judgement"]["rows"] == 4


def test_cards_carry_what_the_hub_reads(adapter: Path, hub: WritableHub, tmp_path: Path) -> None:
    push(adapter, "ada/tiny")
    data = ModelCard(head(hub, "ada/tiny")["README.md"].decode()).data
    assert (data.base_model, data.library_name) == ("tiny", "peft")
    assert [(each.metric_type, each.dataset_type) for each in data.eval_results] == [
        ("bits per byte", "cinquain-held-out")
    ]
    merge(adapter, tmp_path / "merged", list(rows_of(adapter / "data" / "test.jsonl"))[:4])
    push(tmp_path / "merged", "ada/merged")
    merged = ModelCard(head(hub, "ada/merged")["README.md"].decode())
    assert (merged.data.base_model, merged.data.library_name) == ("tiny", "transformers")
    assert "same replies" in merged.text
    known = next(iter(entries().values()))
    assert licence_of(f"{known.hub_id}@main") == licence_of(known.alias) == known.licence.lower()
    assert licence_of("smollm2-135m") == "apache-2.0"
    assert licence_of("models/mine") == ""


def test_what_was_sent_is_an_adapter_again(adapter: Path, hub: WritableHub, tmp_path: Path) -> None:
    push(adapter, "ada/tiny")
    (tmp_path / "fetched").mkdir()
    for name, data in head(hub, "ada/tiny").items():
        (tmp_path / "fetched" / name).write_bytes(data)
    assert resolve_adapter(tmp_path / "fetched") == tmp_path / "fetched"
    assert (tmp_path / "fetched" / "adapter_model.safetensors").read_bytes() == (
        adapter / "adapter_model.safetensors"
    ).read_bytes()


def test_pushing_again_goes_on_after_a_failure(adapter: Path, hub: WritableHub) -> None:
    hub.faults.append(("POST /api/models/ada/tiny/commit", Answer.refusal(500, "", "oops"), None))
    assert refusal(adapter) == "push_refused"
    assert head(hub, "ada/tiny") == {}
    hub.faults.clear()
    assert push(adapter, "ada/tiny").commit == push(adapter, "ada/tiny").commit or len(head(hub, "ada/tiny")) >= 5
    assert set(head(hub, "ada/tiny")) >= SENT


@pytest.mark.parametrize(
    ("status", "code"), [(402, "push_plan"), (403, "push_no_right"), (409, "push_name_taken"), (503, "push_refused")]
)
def test_refusals_of_the_hub(adapter: Path, hub: WritableHub, status: int, code: str) -> None:
    hub.faults.append(("POST /api/models/.*/preupload", Answer.refusal(status, "", "no"), None))
    assert refusal(adapter) == code


def test_who_may_not_write(adapter: Path, hub: WritableHub, monkeypatch: pytest.MonkeyPatch) -> None:
    assert refusal(adapter, "somebody/tiny") == "push_no_right"
    assert refusal(adapter, "tiny") == refusal(adapter, "a b/c") == "push_name"
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    assert refusal(adapter) == "push_not_logged_in"
    monkeypatch.delenv("HF_TOKEN")
    assert refusal(adapter) == "push_not_logged_in"
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert refusal(adapter) == "push_offline"
    assert hub.repositories == {}


def test_a_password_of_a_mirror_is_not_shown(
    adapter: Path, hub: WritableHub, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", hub.url.replace("://", "://ada:opensesame@"))
    assert main(["push", str(adapter), "--to", "ada/tiny", "--dry-run"]) == 0
    hub.faults.append(("POST .*", Answer.refusal(503, "", "no"), None))
    main(["push", str(adapter), "--to", "ada/tiny"])
    hub.__exit__()
    main(["push", str(adapter), "--to", "ada/tiny"])
    printed = capsys.readouterr()
    assert "ada/tiny" in printed.out
    assert "opensesame" not in printed.out + printed.err


def test_a_hub_that_is_gone(adapter: Path, hub: WritableHub) -> None:
    hub.__exit__()
    assert refusal(adapter) == "push_lost"


def test_a_dry_run_sends_nothing(adapter: Path, hub: WritableHub, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["push", str(adapter), "--to", "ada/tiny", "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in SENT)
    assert "Nothing was sent" in printed
    assert hub.requests == []
    assert main(["push", str(adapter), "--to", "ada/tiny", "--public", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["address"].endswith("/ada/tiny")
    assert not hub.repositories["ada/tiny"].private


def test_what_is_not_finished_or_not_right_is_not_published(adapter: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        public_files(tmp_path)
    assert caught.value.code == "push_nothing"
    merged = tmp_path / "merged"
    merge(adapter, merged, list(rows_of(adapter / "data" / "test.jsonl"))[:4])
    assert {"config.json", "model.safetensors", "tokenizer.json", REPORT} <= set(public_files(merged))
    report = json.loads((merged / REPORT).read_bytes())
    (merged / REPORT).write_text(json.dumps(report | {"passed": False}), encoding="utf-8")
    with pytest.raises(InputError) as caught:
        public_files(merged)
    assert caught.value.code == "push_gate"


def test_a_merged_model_is_served_from_the_hub_with_the_prompt_it_was_trained_with(
    adapter: Path, hub: WritableHub, tmp_path: Path
) -> None:
    merged = tmp_path / "merged"
    merge(adapter, merged, list(rows_of(adapter / "data" / "test.jsonl"))[:4])
    own = json.loads((adapter / FILE_NAME).read_bytes())
    own["prompt"]["version"] += 50  # another one than ships today
    write(merged, Fingerprint.model_validate(own), MERGED_FILE_NAME)
    push(merged, "ada/merged")
    assert not any(str(adapter.parent).encode() in data for data in head(hub, "ada/merged").values())
    chat = pipeline(own["task"], "ada/merged", dtype="float32")
    assert chat.wording()[1].version == own["prompt"]["version"]


def test_a_path_of_this_machine_is_found(adapter: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(adapter, copy)
    with (copy / "README.md").open("a", encoding="utf-8") as card:
        card.write(f"\nTrained beside {Path.home()}/notes.txt\n")
    with pytest.raises(InputError) as caught:
        public_files(copy)
    assert caught.value.code == "push_path"
    assert caught.value.parameters["line"] == len((copy / "README.md").read_text(encoding="utf-8").splitlines())
