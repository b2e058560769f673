"""Which weights a Space serves, and what of them goes to the Hub."""

from pathlib import Path

import pytest

from apps.publish.weights import find_weights
from finetune.merging import REPORT
from pipelines.errors import InputError
from pipelines.models.progress import Progress
from tests.doubles.tiny import tiny_chat_model
from tests.doubles.training_rows import finished_adapter

pytestmark = pytest.mark.filterwarnings("ignore")  # PEFT on tied embeddings
QUIET = Progress(quiet=True)


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finished_adapter(tmp_path_factory.mktemp("adapter"))


def test_an_adapter_of_weights_that_are_not_on_the_hub_is_merged_once(
    adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CINQUAIN_HOME", str(tmp_path))
    found = find_weights("smollm2-135m", str(adapter), "ada/demo", QUIET)
    assert found.upload is not None
    assert (found.upload.repository, found.upload.adapter) == ("ada/demo-model", False)
    assert {REPORT, "model.safetensors", "config.json"} <= set(found.upload.files)
    assert found.references("abc") == {"model": "ada/demo-model@abc", "adapter": None}
    assert found.adapter is None
    assert Path(found.model).is_dir()
    assert find_weights("smollm2-135m", str(adapter), "ada/demo", QUIET) == found


def test_what_needs_no_weights_and_what_has_the_wrong_form(tmp_path: Path) -> None:
    assert find_weights("scripted", None, "ada/demo", QUIET).references("main") == {
        "model": "scripted",
        "adapter": None,
    }
    with pytest.raises(InputError) as caught:
        find_weights("org-without-name", None, "ada/demo", QUIET)
    assert caught.value.code == "model_unknown"
    folder = tiny_chat_model(tmp_path / "tiny")
    found = find_weights(str(folder), None, "ada/demo", QUIET)
    assert found.upload is not None
    assert str(tmp_path).encode() not in b"".join(
        each for each in found.upload.files.values() if isinstance(each, bytes)
    )
