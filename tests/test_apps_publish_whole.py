"""A Space verified for real: its own fresh environment from the package index, the embedded model, one request."""

from pathlib import Path

import pytest

from apps.publish.order import Order
from apps.publish.verifying import verify


@pytest.mark.slow
@pytest.mark.model
@pytest.mark.usefixtures("package_index")
def test_the_translation_space_with_the_embedded_model(
    embedded_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("apps.publish.order.home", lambda: tmp_path)
    monkeypatch.setattr("apps.publish.trial.home", lambda: tmp_path)
    order = Order("translation", "ada/demo", "smollm2-135m")
    verified = verify(order)
    assert verified.packages > 50
    assert verified.trial.replies[0].text
    assert verified.weights.upload is not None
    assert verified.weights.upload.bytes > 500_000_000
    assert verify(order).trial == verified.trial  # known from the first time
