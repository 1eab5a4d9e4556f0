from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from support import needs

from edgeseg.errors import UsageError
from edgeseg.models import TrainedModel, find_model


def test_without_a_checkpoint_it_is_the_shipped_one() -> None:
    model = TrainedModel.find("egeunet", size=(64, 96))
    assert model.spec == find_model("egeunet", size=(64, 96))
    assert model.is_shipped
    assert model.weights == model.spec.resolve_weights(None)


def test_a_given_checkpoint_is_part_of_the_identity(tmp_path: Path) -> None:
    (tmp_path / "mine.pth").write_bytes(b"numbers")
    model = TrainedModel.find("egeunet", weights=tmp_path / "mine.pth")
    assert not model.is_shipped
    assert model.identity() == {
        "model": find_model("egeunet").to_json(),
        "weights": hashlib.sha256(b"numbers").hexdigest(),
        "source": None,
    }


def test_a_missing_checkpoint_names_the_option_that_it_came_from(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.pth\. Check --against-weights"):
        TrainedModel.find("egeunet", weights=tmp_path / "none.pth", option="--against-weights")


@needs("torch")
def test_its_network_is_ready_to_predict() -> None:
    assert not TrainedModel.find("egeunet").load_network().training
