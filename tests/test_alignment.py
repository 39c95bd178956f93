"""Units that change places: which may, that the function stays, and the places that fit another network."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

import langevin
from langevin import plotting
from langevin.config import run_files
from langevin.errors import ConfigError, UserError
from langevin.plotting import alignment
from langevin.systems.networks.nets import deep_modules as deep
from langevin.systems.networks.nets import modules as plain
from langevin.systems.networks.nets.recurrent_modules import GRULayer
from langevin.systems.networks.symmetry.groups import Axis, Group, groups
from langevin.systems.networks.symmetry.matching import matched, overlap, permuted

pytestmark = pytest.mark.usefixtures("one_thread")

#: Name → a small module, the shape of an input, groups that may be permuted.
MODULES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], int]] = {
    "mlp": (lambda: plain.multilayer((1, 4, 4), [5, 6], 3, "tanh"), (1, 4, 4), 2),
    "small_net": (lambda: plain.SmallNet((1, 16, 16), 3, (4, 5), 7), (1, 16, 16), 3),
    "lenet": (lambda: plain.LeNet((1, 28, 28), 3), (1, 28, 28), 4),
    # A group for each stage, and one within each of its eight blocks.
    "resnet18": (lambda: plain.ResNet18((3, 8, 8), 4, 3), (3, 8, 8), 12),
    "vgg16": (lambda: deep.VGG16((3, 32, 32), 4, 2, batch_norm=True), (3, 32, 32), 15),
    "preresnet": (lambda: deep.PreResNet((3, 8, 8), 4, 11, width=3), (3, 8, 8), 10),
    "basic": (lambda: deep.PreResNet((3, 8, 8), 4, 8, bottleneck=False, width=3), (3, 8, 8), 6),
    # Channels that are padded by zeros stay where they are: what is left is within the six blocks.
    "resnet158": (lambda: deep.CifarResNet((3, 8, 8), 4, 14, 3), (3, 8, 8), 6),
    "wide_resnet": (lambda: deep.WideResNet((3, 8, 8), 4, 10, 2, 3), (3, 8, 8), 7),
}


def made(name: str) -> tuple[nn.Module, Tensor, dict[str, np.ndarray], list[Group]]:
    """Return a module in double precision, inputs, all that it holds, and its groups.

    Batch-norm has weights, biases and running statistics of its own at every channel.
    """
    torch.manual_seed(1)
    build, shape, _ = MODULES[name]
    module, rng = build().double(), np.random.default_rng(2)
    inputs = torch.randn(5, *shape, dtype=torch.float64)
    state = {k: v.numpy().copy() for k, v in module.state_dict().items()}
    for key, value in state.items():
        if value.ndim == 1:
            state[key] = np.abs(value + 0.3 * rng.standard_normal(value.shape))
    return module, inputs, state, groups(module, inputs)


def outputs(module: nn.Module, state: dict[str, np.ndarray], inputs: Tensor) -> np.ndarray:
    # Training changes what stands in the state: a copy.
    named = {k: torch.from_numpy(np.array(v)) for k, v in state.items()}
    return functional_call(module, named, (inputs,)).detach().numpy()


def weights_of(module: nn.Module, state: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: state[name] for name, _ in module.named_parameters()}


def shifted(found: list[Group]) -> list[np.ndarray]:
    """Return for each group an order in which no unit stays where it is."""
    return [np.roll(np.arange(group.size), 1) for group in found]


@pytest.mark.parametrize("name", MODULES)
def test_a_permutation_leaves_the_function_as_it_is(name: str) -> None:
    """To rounding of double precision, with statistics of the batch and with running ones."""
    module, inputs, state, found = made(name)
    assert len(found) == MODULES[name][2]
    new = permuted(state, found, shifted(found))
    moved = [k for k in weights_of(module, state) if not np.array_equal(new[k], state[k])]
    assert len(moved) >= len(state) // 4
    for training in (True, False):
        module.train(training)
        before, after = (outputs(module, s, inputs) for s in (state, new))
        np.testing.assert_allclose(after, before, rtol=0, atol=1e-12 * np.abs(before).max())
    # With one axis of any of its groups forgotten it is another function.
    for group in found:
        without = [Group(g.size, g.axes[1:] if g is group else g.axes) for g in found]
        broken = outputs(module, permuted(state, without, shifted(found)), inputs)
        assert np.abs(broken - before).max() > 1e-4 * np.abs(before).max()


@pytest.mark.parametrize("name", MODULES)
def test_a_planted_permutation_is_found(name: str) -> None:
    module, _, state, found = made(name)
    own = weights_of(module, state)
    hidden = permuted(own, found, shifted(found))
    order = matched(own, hidden, found, np.random.default_rng(3))
    for key, value in permuted(hidden, found, order).items():
        np.testing.assert_array_equal(value, own[key])


def test_one_group_is_assigned_as_well_as_can_be() -> None:
    rng = np.random.default_rng(4)
    shapes = {"0.weight": (5, 3), "0.bias": (5,), "1.weight": (2, 10)}
    found = [Group(5, [Axis("0.weight", 0, 1), Axis("0.bias", 0, 1), Axis("1.weight", 1, 2)])]
    a, b = ({k: rng.standard_normal(s) for k, s in shapes.items()} for _ in range(2))
    best = max(
        overlap(a, permuted(b, found, [np.array(order)])) for order in itertools.permutations(range(5))
    )
    assert overlap(a, permuted(b, found, matched(a, b, found, rng))) == pytest.approx(best, rel=1e-13)


def test_weights_between_units_of_one_group_never_make_it_worse() -> None:
    """Such as x + W x: the assignment takes one of the two sides as it was."""
    rng = np.random.default_rng(5)
    found = [Group(6, [Axis("w", 0, 1), Axis("w", 1, 1)])]
    for _ in range(50):
        a, b = ({"w": rng.standard_normal((6, 6))} for _ in range(2))
        order = matched(a, b, found, rng)
        assert overlap(a, permuted(b, found, order)) >= overlap(a, b)


class Sorting(nn.Module):
    """Something between two layers that sees the order of its units."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.middle, self.last = nn.Linear(4, 5), nn.Linear(5, 6), nn.Linear(6, 2)
        self.scale = nn.Parameter(torch.rand(5))

    def forward(self, x: Tensor) -> Tensor:
        y = torch.cumsum(torch.tanh(self.first(x)), 1) * self.scale
        return self.last(torch.tanh(self.middle(y)))


class Twice(nn.Module):
    """A layer that is called twice: what it reads and what it writes is one group."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.again, self.last = nn.Linear(4, 5), nn.Linear(5, 5), nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.tanh(self.first(x))
        return self.last(y + torch.tanh(self.again(torch.tanh(self.again(y)))))


class Tied(nn.Module):
    """The same without a sum: that the layer is called on its own outputs is all that makes one group."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.again, self.last = nn.Linear(4, 5), nn.Linear(5, 5), nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.tanh(self.again(torch.tanh(self.again(torch.tanh(self.first(x)))))))


class Uneven(nn.Module):
    """A sum of channels that do not stand alike: three, of four places in a row, and twelve units."""

    def __init__(self) -> None:
        super().__init__()
        self.filters, self.plain = nn.Conv2d(1, 3, 1), nn.Linear(4, 12)
        self.middle, self.last = nn.Linear(12, 6), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        both = torch.flatten(self.filters(x.reshape(-1, 1, 2, 2)), 1) + self.plain(x)
        return self.last(torch.tanh(self.middle(torch.tanh(both))))


class Residual(nn.Module):
    """Two blocks, each spelled in one of the ways to add, whose stream is one group."""

    def __init__(self, add: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.add, self.first, self.last = add, nn.Linear(4, 5), nn.Linear(5, 2)
        self.inside, self.outside = (nn.ModuleList(nn.Linear(*s) for _ in "ab") for s in ((5, 6), (6, 5)))

    def forward(self, x: Tensor) -> Tensor:
        y = torch.tanh(self.first(x))
        for inside, outside in zip(self.inside, self.outside, strict=True):
            y = self.add(y, outside(torch.tanh(inside(y))))
        return self.last(y)


class Deciding(nn.Linear):
    """What it does depends on values."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) if x.sum() > 0 else x


#: Ways to write the sum of a residual block.
ADDED: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "+": lambda a, b: a + b,
    "+ reversed": lambda a, b: b + a,
    "+=": operator.iadd,
    "torch.add": torch.add,
    "add": lambda a, b: a.add(b),
}


@pytest.mark.parametrize(
    ("kind", "sizes"),
    [
        (Sorting, [6]),
        (Twice, [5]),
        (Tied, [5]),
        (Uneven, [6]),
        *(
            pytest.param(partial(Residual, add), [5, 6, 6], id=f"Residual {name}")
            for name, add in ADDED.items()
        ),
    ],
)
def test_modules_of_ones_own(kind: Callable[[], nn.Module], sizes: list[int]) -> None:
    """The groups are those that a reader of the module finds, and all that is left alone is needed."""
    torch.manual_seed(6)
    module, inputs = kind().double(), torch.randn(7, 4, dtype=torch.float64)
    found = groups(module, inputs)
    assert sorted(group.size for group in found) == sizes
    state = {k: v.numpy() for k, v in module.state_dict().items()}
    before, after = (outputs(module, s, inputs) for s in (state, permuted(state, found, shifted(found))))
    np.testing.assert_allclose(after, before, rtol=0, atol=1e-14)


def test_what_has_no_graph_is_refused() -> None:
    with pytest.raises(UserError, match=r"system.align = true: Deciding has no graph .*; allowed: false"):
        groups(Deciding(4, 4), torch.randn(2, 4))
    with pytest.raises(UserError, match=r"system.align = true: GRULayer has no graph"):
        groups(GRULayer(4, 3), torch.zeros(2, 5, 4))


# --- curves ---


def ends_of(system: dict[str, Any], path: Path) -> dict[str, Any]:
    """Return the run file of two networks of one sample."""
    return {
        "system": system,
        "data": {"name": "synthetic", "train": 60, "test": 40, "noise": 1.0, "components": 8},
        "dynamics": {"learning_rate": 0.2, "batch_size": 20, "t_max": 20, "backend": "torch"},
        "ensemble": {"replicas": 2, "samples": 1, "seed": 1},
        "record": {"times": [], "waiting_times": [], "lags": [], "snapshots": [20]},
        "output": {"path": str(path), "figure": False},
    }


def left(folder: Path, system: dict[str, Any]) -> Path:
    """Leave a result with two trained networks of one sample."""
    path = folder / "ends.nc"
    langevin.run(ends_of(system, path), threads=1).close()
    return path


def test_a_curve_joins_aligned_ends(tmp_path: Path) -> None:
    ends = left(tmp_path, {"name": "mlp", "widths": [8], "activation": "relu"})
    overrides = {"dynamics.t_max": 2, "dynamics.backend": "torch", "record.positions": 3}
    stored, found = (
        langevin.connect(ends, align=align, overrides=overrides, threads=1) for align in (False, True)
    )
    before, after = (found[f"{which}_distance"].to_numpy() for which in ("unaligned", "aligned"))
    assert (after < before).all()
    assert "aligned_distance" not in stored
    np.testing.assert_allclose(stored["distance_from_start"][:, -1], before, rtol=1e-5)
    np.testing.assert_allclose(found["distance_from_start"][:, -1], after, rtol=1e-5)
    # Another point, of the same function: losses are sums in single precision.
    for what in ("energy", "test_loss", "test_error"):
        np.testing.assert_allclose(
            found[f"shortest_{what}"][:, -1], stored[f"shortest_{what}"][:, -1], rtol=1e-5
        )
    control = [ds["control"].to_numpy()[0] for ds in (stored, found)]
    np.testing.assert_array_equal(control[0][0], control[1][0])
    assert (control[0][-1] != control[1][-1]).any()
    np.testing.assert_allclose(np.sort(control[0][-1]), np.sort(control[1][-1]), rtol=0)


def test_ends_may_be_a_member_of_a_sweep_and_the_figure_shows_what_alignment_does(tmp_path: Path) -> None:
    ends = tmp_path / "ends.nc"
    given = ends_of({"name": "mlp", "activation": "relu"}, ends)
    langevin.run({**given, "sweep": {"system.widths": [[4], [8]]}}, threads=1).close()
    curves = {
        "system": {"name": "network_curve", "start": str(ends), "member": 0},
        "dynamics": {"learning_rate": 0.1, "batch_size": 20, "t_max": 1, "backend": "torch"},
        "ensemble": {"replicas": 1, "samples": 1, "seed": 1},
        "record": {"times": [], "waiting_times": [], "lags": [], "positions": 3},
        "output": {"path": str(tmp_path / "curves.nc"), "figure": False},
        "sweep": {"system.member": [0, 1], "system.align": [False, True]},
    }
    with langevin.run(curves, threads=1) as found:
        points = alignment.points_of(found)
        # Eight inputs, w units, ten classes, and a bias of each unit and output.
        classes = 10
        weights = [8 * w + w + w * classes + classes for w in (4, 8)]
        assert [(p.weights, p.aligned) for p in points] == [(m, a) for m in weights for a in (False, True)]
        for stored, moved in zip(points[::2], points[1::2], strict=True):
            assert moved.distance[0] < stored.distance[0]
            assert moved.end[0] == pytest.approx(stored.end[0], rel=1e-5)
        lines = plotting.figure(found, "alignment").axes[0].containers
        for aligned, line in zip((False, True), lines, strict=False):
            shown = [p.barrier[0] for p in points if p.aligned == aligned]
            assert line.lines[0].get_ydata().tolist() == shown
    for member, said in ((2, r"member 2 is asked for; allowed: 0 … 1"), (-1, r"holds a sweep over widths")):
        wrong = {**curves, "system": curves["system"] | {"member": member}, "sweep": {}}
        with pytest.raises(ConfigError, match=said):
            run_files.load({k: v for k, v in wrong.items() if k != "sweep"})


def test_curves_of_models_have_nothing_to_align() -> None:
    given = {
        "system": {"name": "curve", "start": "a.nc", "align": True},
        "dynamics": {"temperature": 0.0, "dt": 0.02, "t_max": 0.1},
    }
    with pytest.raises(ConfigError, match=r"system\.align: unknown key"):
        run_files.load(given)
