"""Run files of Garipov et al. 2018: the paper's numbers; ImageNet by the user's own data set and network."""

from __future__ import annotations

import importlib.util
import sys
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from conftest import ROOT
from torch import nn

from langevin.core.ensemble import Ensemble
from langevin.errors import UserError

#: Steps of an epoch: 50,000 examples in batches of 128.
EPOCH = 50_000 / 128

#: Run file → epochs, rate and decay of the ends; epochs and rate of the curve; epochs of a cycle, its rates.
PAPER = {
    "vgg16": (200, 0.05, 5e-4, 600, 0.015, 2, 1e-2, 5e-4),
    "preresnet164": (150, 0.1, 3e-4, 200, 0.03, 4, 5e-2, 5e-4),
    "wide_resnet": (200, 0.1, 5e-4, 200, 0.03, 4, 5e-2, 5e-4),
}


def given(name: str) -> dict[str, Any]:
    return tomllib.loads((ROOT / "runs" / f"{name}.toml").read_text())


@pytest.mark.parametrize("name", PAPER)
def test_run_files_have_the_numbers_of_the_paper(name: str) -> None:
    epochs, rate, decay, curve_epochs, curve_rate, cycle, highest, lowest = PAPER[name]
    ends, curve, fge = (given(name + part) for part in ("", "_curve", "_fge"))
    for run in (ends, curve, fge):
        dynamics = run["dynamics"]
        common = [dynamics[k] for k in ("batch_size", "momentum", "weight_decay", "augment")]
        assert common == [128, 0.9, decay, "crop_flip"]
    # A run ends with a whole step.
    assert abs(ends["dynamics"]["t_max"] - epochs * EPOCH) <= 0.5
    assert abs(curve["dynamics"]["t_max"] - curve_epochs * EPOCH) <= 0.5
    assert (ends["dynamics"]["learning_rate"], curve["dynamics"]["learning_rate"]) == (rate, curve_rate)
    assert {run["dynamics"]["schedule"] for run in (ends, curve)} == {"piecewise_linear"}
    assert (curve["system"]["curve"], curve["system"]["bends"]) == ("bezier", 1)
    # The rest of one budget; the even number of steps that is nearest to the cycle.
    begins = fge["start"]["time"]
    assert begins == 0.8 * epochs * EPOCH
    assert begins + fge["dynamics"]["t_max"] == ends["dynamics"]["t_max"]
    assert fge["dynamics"]["cycle"] == 2 * round(cycle * EPOCH / 2)
    assert (fge["dynamics"]["learning_rate"], fge["dynamics"]["lowest_learning_rate"]) == (highest, lowest)
    assert fge["system"] == ends["system"]


@pytest.fixture(scope="module")
def imagenet() -> ModuleType:
    spec = importlib.util.spec_from_file_location("imagenet_of_runs", ROOT / "runs" / "imagenet.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Annotations are looked up there.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def written(folder: Path, **changed: np.ndarray) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    arrays = {}
    for which, size in (("train", 7), ("test", 4)):
        arrays[f"{which}_images"] = rng.integers(256, size=(size, 3, 2, 2), dtype=np.uint8)
        arrays[f"{which}_labels"] = rng.integers(1000, size=size)
    arrays |= changed
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    return arrays


def test_imagenet_is_mapped_and_standardised(imagenet: ModuleType, tmp_path: Path) -> None:
    arrays = written(tmp_path)
    keys = imagenet.ImageNet.Parameters(directory=str(tmp_path), train=5)
    data = imagenet.ImageNet(keys).load(Ensemble.regular(2, 2, 1))
    assert isinstance(data.train.inputs, np.memmap)
    assert {s: len(r) for s, r in data.rows.items()} == {0: 5, 1: 5}
    assert {s: len(r) for s, r in data.test_rows.items()} == {0: 4, 1: 4}
    np.testing.assert_array_equal(data.train.labels, arrays["train_labels"])
    image = arrays["test_images"][2].astype(np.float64)
    by_hand = [
        (image[c] / 255 - m) / d
        for c, (m, d) in enumerate(zip(imagenet.MEAN, imagenet.DEVIATION, strict=True))
    ]
    # In single precision, terms up to 2.7.
    np.testing.assert_allclose(data.scaled(data.test.inputs[2:3])[0], by_hand, atol=2e-6)
    # Another label or image is another set.
    kept = data.attributes["hash"]
    for name in ("train_images", "test_labels"):
        other = arrays[name].copy()
        other.flat[-1] ^= 1
        written(tmp_path, **{name: other})
        assert imagenet.ImageNet(keys).load(Ensemble.regular(1, 1, 1)).attributes["hash"] != kept


def test_what_is_wrong_with_the_files_is_one_line(imagenet: ModuleType, tmp_path: Path) -> None:
    def load() -> None:
        imagenet.ImageNet(imagenet.ImageNet.Parameters(directory=str(tmp_path))).load(
            Ensemble.regular(1, 1, 1)
        )

    with pytest.raises(UserError, match=r"^data.directory = '.*': train_images.npy: .*No such file"):
        load()
    written(tmp_path, test_labels=np.array([3, 1000, 2, 1]))
    with pytest.raises(UserError, match="a test label is 1000; allowed: 0 to 999"):
        load()
    written(tmp_path, train_labels=np.array([None] * 7))
    with pytest.raises(UserError, match=r"^data.directory = '.*': train_labels.npy: "):
        load()


def test_a_stored_state_is_a_start(
    imagenet: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def built(num_classes: int) -> nn.Module:
        return nn.Sequential(nn.Linear(3, num_classes), nn.BatchNorm1d(num_classes))

    torchvision, models = ModuleType("torchvision"), ModuleType("torchvision.models")
    models.resnet50 = built  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torchvision", torchvision)
    monkeypatch.setitem(sys.modules, "torchvision.models", models)
    trained = built(4)
    trained[1].running_mean += 1.5
    torch.save(trained.state_dict(), tmp_path / "trained.pth")
    found = imagenet.resnet50(4, str(tmp_path / "trained.pth")).state_dict()
    assert all(torch.equal(found[name], value) for name, value in trained.state_dict().items())
    assert not torch.equal(imagenet.resnet50(4)[0].weight, trained[0].weight)
