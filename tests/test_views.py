"""Augmentation: random crops and mirror images, against padding and slicing by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from small_nets import built, settings

from langevin.core.ensemble import Ensemble
from langevin.errors import UserError
from langevin.systems.networks.data import views
from langevin.systems.networks.replicas.steppers import ReplicaSteppers

NET = {"name": "small_net", "filters": [2, 3], "hidden": 6}
IMAGES = {"name": "synthetic", "train": 24, "test": 20, "like": "cifar10"}


def by_hand(image: np.ndarray, view: int) -> np.ndarray:
    """Pad by 4, cut a window out, mirror it if the view is odd; the window's place counts modulo 9 from 0."""
    _, height, width = image.shape
    padded = np.pad(image, ((0, 0), (4, 4), (4, 4)))
    down, right = ((n + 4) % 9 for n in divmod(view // 2, 9))
    window = padded[:, down : down + height, right : right + width]
    return window[:, :, ::-1] if view % 2 else window


@pytest.mark.parametrize("kind", [np.uint8, np.float64])
def test_a_view_is_a_window_of_the_padded_image(kind: type) -> None:
    drawn = np.random.default_rng(1).integers(1, 256, size=(views.VIEWS, 3, 6, 7)).astype(kind)
    found = views.look(torch.from_numpy(drawn), torch.arange(views.VIEWS)).numpy()
    for view, (image, seen) in enumerate(zip(drawn, found, strict=True)):
        np.testing.assert_array_equal(seen, by_hand(image, view))
    np.testing.assert_array_equal(found[0], drawn[0])
    assert found.dtype == kind


def test_every_view_is_another_and_all_are_as_likely() -> None:
    """χ² of 162 000 draws at the 10⁻⁶ quantile, 255.6 for 161 degrees of freedom."""
    image = torch.from_numpy(np.random.default_rng(1).random((1, 1, 8, 8))).expand(views.VIEWS, 1, 8, 8)
    seen = views.look(image, torch.arange(views.VIEWS)).flatten(1)
    assert len({row.numpy().tobytes() for row in seen}) == 9 * 9 * 2
    drawn = views.Views(1, 100, Ensemble.regular(1, 1, 2)).table(0, 0, 1620)
    counts = np.bincount(drawn.ravel(), minlength=views.VIEWS)
    assert counts.size == views.VIEWS
    assert np.sum((counts - 1000) ** 2 / 1000) < 255.6


@pytest.mark.parametrize("size", [8, 300])
def test_views_do_not_depend_on_where_a_run_was_cut(size: int) -> None:
    def drawn(replica: int, seed: int, *cuts: int) -> np.ndarray:
        source = views.Views(24, size, Ensemble.regular(2, 1, seed))
        return np.concatenate(
            [source.table(replica, a, b) for a, b in zip((0, *cuts), (*cuts, 600), strict=True)]
        )

    whole = drawn(0, 5)
    assert whole.shape == (600, size) and (whole % 24 == 0).all()
    np.testing.assert_array_equal(drawn(0, 5, 1, 7, 256, 257, 500), whole)
    for other in (drawn(1, 5), drawn(0, 6)):
        assert abs(np.mean(other == whole) - 1 / views.VIEWS) < 0.02
    # No step's views are those of another.
    assert len({row.tobytes() for row in whole}) == 600


@pytest.mark.parametrize("execution", ["sequential", "stacked"])
def test_steps_are_those_of_a_loop_over_views_made_by_hand(execution: str) -> None:
    keys = {"precision": "double", "execution": execution, "learning_rate": 0.1, "momentum": 0.9}
    network, noise = built(settings(NET, IMAGES, replicas=2, augment="crop_flip", **keys))
    end = network.advance(network.initial_state(noise), 0, 6, noise)
    pixels, scale = network.train.inputs.numpy(), network.train.scale
    for position, replica in enumerate(network.ensemble.replica):
        module = network.built(replica)
        optimizer = torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9)
        places = network.batches.table(int(replica), 0, 6)
        numbers = views.Views(1, 8, network.ensemble).table(int(replica), 0, 6)
        for place, number in zip(places, numbers, strict=True):
            rows = network.units.rows[0][place]
            seen = np.stack([by_hand(pixels[r], int(n)) for r, n in zip(rows, number, strict=True)])
            inputs = torch.from_numpy(seen).double() * scale + network.train.shift
            optimizer.zero_grad()
            F.cross_entropy(module(inputs), network.train.labels[torch.from_numpy(rows)]).backward()
            optimizer.step()
        # Six steps of double precision arithmetic in another order.
        torch.testing.assert_close(end.weights[position], network.layout.of(module), rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("keys", [{}, {"batches": "persistent"}, {"batches": "full"}], ids=str)
def test_a_run_with_views_may_be_cut_anywhere(keys: dict[str, Any]) -> None:
    ends = []
    for cuts in ((), (3, 4)):
        network, noise = built(settings(NET, IMAGES, replicas=2, augment="crop_flip", **keys))
        state, now = network.initial_state(noise), 0
        for cut in (*cuts, 7):
            state, now = network.advance(state, now, cut, noise), cut
        ends.append(network.configuration(state))
    np.testing.assert_array_equal(*ends)
    plain, noise = built(settings(NET, IMAGES, replicas=2, **keys))
    other = plain.configuration(plain.advance(plain.initial_state(noise), 0, 7, noise))
    assert (other != ends[0]).any(axis=1).all()


def test_a_large_batch_of_views_is_the_sum_of_its_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = {"precision": "double", "batches": "full", "augment": "crop_flip"}
    network, noise = built(settings(NET, IMAGES, replicas=1, **keys))
    whole = network.advance(network.initial_state(noise), 0, 3, noise).weights
    with monkeypatch.context() as patch:
        patch.setattr("langevin.systems.networks.descent.training.LARGEST", 7)
        again = network.advance(network.initial_state(noise), 0, 3, noise).weights
    torch.testing.assert_close(again, whole, rtol=1e-12, atol=1e-13)


def test_measurements_see_plain_images() -> None:
    found = []
    for augment in ("none", "crop_flip"):
        network, noise = built(settings(NET, IMAGES, replicas=2, augment=augment))
        state = network.initial_state(noise)
        found.append({**network.measure(state), **network.at_waiting(state)})
        assert ("comment" in network.attributes()["gradient_noise"]) == (augment != "none")
    for name, value in found[0].items():
        np.testing.assert_array_equal(found[1][name], value, err_msg=name)


def test_only_images_have_views_and_only_torch_makes_them() -> None:
    with pytest.raises(UserError) as error:
        built(settings({"name": "mlp"}, {"name": "small_nets:Line"}, augment="crop_flip", batch_size=2))
    assert str(error.value) == (
        'dynamics.augment = "crop_flip": allowed: "none" with data.name = \'line\', whose inputs are 1, not '
        "images (channels×height×width)"
    )
    flat = {"name": "mlp", "widths": [3]}
    with pytest.raises(UserError, match="without augmentation"):
        built(settings(flat, IMAGES, augment="crop_flip", backend="numba"))
    network, _ = built(settings(flat, IMAGES, augment="crop_flip"))
    assert isinstance(network.units, ReplicaSteppers) and not network.units._compiled
