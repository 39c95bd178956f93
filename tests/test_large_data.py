"""Data sets that fit no GPU, or no memory: gathered where they lie, never read whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from small_nets import built, settings

from langevin.errors import UserError
from langevin.systems.networks.data import base, examples
from langevin.systems.networks.data.examples import OnDevice
from langevin.systems.networks.data.sameness import same_data
from langevin.systems.networks.data.views import Augmented
from langevin.systems.networks.replicas.steppers import ReplicaSteppers

NET = {"name": "small_net", "filters": [2, 3], "hidden": 6}
IMAGES = {"name": "synthetic", "train": 24, "test": 20, "like": "cifar10"}


def made(kind: type[OnDevice], device: str, on_host: bool | None) -> OnDevice:
    rng = np.random.default_rng(1)
    inputs, labels = rng.integers(256, size=(9, 3, 6, 7), dtype=np.uint8), np.arange(9)
    scale, shift = rng.random((2, 3)).astype(np.float32)
    return kind(inputs, labels, scale, shift, torch.device(device), torch.float32, on_host)


@pytest.mark.parametrize(("kind", "most"), [(OnDevice, 9), (Augmented, 9 * 162)])
def test_examples_on_the_host_are_the_same_examples(kind: type[OnDevice], most: int) -> None:
    index = torch.from_numpy(np.random.default_rng(2).integers(most, size=(2, 5)))
    here, there = (made(kind, "cpu", on_host).gather(index) for on_host in (False, True))
    assert here[0].shape == (2, 5, 3, 6, 7)
    assert all(torch.equal(a, b) for a, b in zip(here, there, strict=True))


@pytest.mark.parametrize("kind", [OnDevice, Augmented])
def test_examples_on_the_host_stay_there_and_batches_leave(kind: type[OnDevice]) -> None:
    """A device without memory stands for a GPU: whatever is computed there must have been brought there."""
    found = made(kind, "meta", on_host=True)
    index = found.upload(np.array([[3, 9 * 5 + 4 if kind is Augmented else 4]]))
    assert {t.device.type for t in (found.inputs, found.labels, index)} == {"cpu"}
    assert [t.device.type for t in found.gather(index)] == ["meta", "meta"]
    assert made(kind, "meta", on_host=False).inputs.device.type == "meta"


def test_examples_stay_where_the_gpu_has_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1000, 10_000))
    gpu = torch.device("cuda")
    assert [examples.too_large(size, gpu) for size in (500, 501)] == [False, True]
    assert not examples.too_large(10**15, torch.device("cpu"))


@pytest.mark.parametrize("on_host", [False, True])
def test_no_step_is_captured_that_gathers_on_the_host(on_host: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The class of a GPU, whose steps nobody takes: what is captured is decided before."""
    network, noise = built(settings(NET, IMAGES, replicas=1, augment="crop_flip"))
    plain = network.advance(network.initial_state(noise), 0, 3, noise).weights
    network.train.on_host = on_host
    units = network.make_units()
    moved = network.initial_state(noise)
    assert units.advance(moved, 0, 3, [None]) is None
    assert torch.equal(moved.weights, plain)
    monkeypatch.setattr(network.train, "device", torch.device("cuda"))
    monkeypatch.setattr(ReplicaSteppers, "load", lambda *given: None)
    units = network.make_units()
    assert (units._captured is None) is on_host
    assert all((probe.lane is None) is on_host for probe in units.probes)


def mapped(folder: Path, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return images in a file that is one hole, which nobody may write to, and labels."""
    shape = (count, 3, 224, 224)
    np.lib.format.open_memmap(folder / "images.npy", "w+", np.uint8, shape).flush()
    return np.load(folder / "images.npy", mmap_mode="r"), np.arange(count) % 2


def data_of(inputs: np.ndarray, labels: np.ndarray) -> base.Data:
    one, zero = np.ones(3, np.float32), np.zeros(3, np.float32)
    train, test = base.Examples(inputs, labels), base.Examples(inputs[:3], labels[:3])
    rows = {0: np.random.default_rng(1).permutation(len(labels))}
    return base.Data("mapped", train, test, 2, one, zero, rows, {0: np.arange(3)})


@pytest.mark.filterwarnings("error")
def test_mapped_images_are_not_read_whole(tmp_path: Path) -> None:
    """3 GB, of which 64 images are read, 10 MB; a page more or less around each, and the allocator's."""
    inputs, labels = mapped(tmp_path, 20_000)
    process = psutil.Process()
    before = process.memory_info().rss
    data = data_of(inputs, labels)
    found = OnDevice(inputs, labels, data.scale, data.shift, torch.device("cpu"), torch.float32)
    for part in torch.from_numpy(data.rows[0][:64]).split(8):
        assert found.gather(part)[0].shape == (8, 3, 224, 224)
    assert process.memory_info().rss - before < 3e8


def test_large_data_are_compared_and_checked_by_parts(tmp_path: Path) -> None:
    count = 600
    images = np.zeros((count, 1, 2, 2), np.uint8)
    labels = np.arange(count) % 2

    def with_last(value: int) -> base.Data:
        changed = images.copy()
        changed[-1, 0, 1, 1] = value
        one = np.ones(1, np.float32)
        part = base.Examples(changed, labels)
        return base.Data("parts", part, part, 2, one, one, {0: np.arange(count)}, {0: np.arange(count)})

    assert same_data(with_last(1), with_last(1))
    assert not same_data(with_last(1), with_last(2))
    points = np.zeros((base.BLOCK + 5, 1), np.float32)
    points[-1] = np.nan
    part, one = base.Examples(points, np.zeros(len(points), np.int64)), np.ones(1, np.float32)
    with pytest.raises(UserError, match="not all finite"):
        base.Data("parts", part, part, 2, one, one, {0: np.arange(3)}, {0: np.arange(3)})


@pytest.mark.gpu
def test_a_gpu_takes_the_same_steps_with_examples_on_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for share in (1.0, 0.0):
        monkeypatch.setattr(examples, "SHARE", share)
        made = settings(NET, IMAGES, device="cuda", deterministic=True, momentum=0.5, augment="crop_flip")
        network, noise = built(made)
        assert network.train.on_host is (share == 0)
        state = network.advance(network.initial_state(noise), 0, 30, noise)
        measured = {**network.measure(state), **network.at_waiting(state)}
        measured["predictions"] = network.predict(state.weights[0], 0).outputs
        found.append({"weights": state.weights.cpu().numpy(), **measured})
    for name, values in found[0].items():
        np.testing.assert_array_equal(found[1][name], values)
