"""Nets with the quadratic hinge: the loss, its gaps, its curvature, who is satisfied, and where nets jam."""

from __future__ import annotations

from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from conftest import ROOT
from numpy.typing import NDArray
from scipy.optimize import linprog
from small_nets import built, settings

import langevin
from langevin import plotting
from langevin.core.ensemble import Ensemble
from langevin.errors import ConfigError, UserError
from langevin.observables import jamming
from langevin.plotting.bad_minima import quenches_of
from langevin.plotting.jamming import beside_patterns, lines_of, spoken
from langevin.systems.networks.data.gaussian import Gaussian
from langevin.systems.networks.descent.perceptron import Compiled
from langevin.systems.networks.measure import gaps
from langevin.systems.networks.nets.losses import Loss
from langevin.systems.networks.nets.margins import quadratic_hinge
from langevin.systems.networks.replicas.steppers import ReplicaSteppers

Array = NDArray[np.float64]

NET: dict[str, Any] = {
    "name": "mlp",
    "widths": [5, 4],
    "activation": "relu",
    "initialisation": "orthogonal",
    "loss": "quadratic_hinge",
}
DATA: dict[str, Any] = {"name": "gaussian", "dimension": 6, "train": 40, "test": 12}
EXACT: dict[str, Any] = {"precision": "double", "learning_rate": 0.02}
PROBES = "langevin.systems.networks.measure.jamming:"


def outputs(weights: Array, sizes: list[int], x: Array) -> Array:
    """Return f of every pattern, layer by layer: weights in the order of torch."""
    start, signal = 0, x
    for k, (a, b) in enumerate(pairwise(sizes)):
        matrix = weights[start : start + a * b].reshape(b, a)
        start += a * b
        signal = signal @ matrix.T + weights[start : start + b]
        start += b
        signal = np.maximum(signal, 0) if k < len(sizes) - 2 else signal
    return signal[:, 0]


def patterns(made: Any, sample: int = 0) -> tuple[Array, Array]:
    """Return the patterns of a sample and y = ±1."""
    keys = made.ensemble
    ensemble = Ensemble.regular(keys.replicas, keys.samples, keys.seed)
    data = Gaussian(made.data).load(ensemble)
    rows = data.rows[sample]
    return data.train.inputs[rows].astype(float), 2.0 * data.train.labels[rows] - 1


# The loss.


def test_the_loss_is_its_formula_and_so_is_its_gradient() -> None:
    rng = np.random.default_rng(0)
    f, label, margin = rng.standard_normal(9), np.arange(9) % 2, 0.7
    y = 2 * label - 1
    gap = margin - y * f
    assert (gap > 0).any() and (gap < 0).any()
    leaf = torch.tensor(f[:, None], requires_grad=True)
    loss = quadratic_hinge(leaf, torch.from_numpy(label), margin)
    expected = np.where(gap > 0, gap, 0.0)
    assert loss.item() == pytest.approx((expected**2).sum() / (2 * 9), rel=1e-15)
    (slope,) = torch.autograd.grad(loss, leaf)
    np.testing.assert_allclose(slope[:, 0], -y * expected / 9, rtol=1e-14)
    each = quadratic_hinge(leaf, torch.from_numpy(label), margin, "none").detach()
    np.testing.assert_allclose(each, expected**2 / 2, rtol=1e-14)


def test_the_sign_of_one_output_is_the_class() -> None:
    loss = Loss("quadratic_hinge", 2)
    f, label = torch.tensor([[0.3], [-0.2], [2.0], [-1.0]]), torch.tensor([1, 1, 0, 0])
    assert loss.right(f, label).tolist() == [1, 0, 0, 1]
    assert loss.target.numbers == 1


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"data": {"name": "synthetic", "train": 20, "test": 5}}, "the data have 10 classes"),
        ({"rests": True, "execution": "stacked"}, "dynamics.rests = true: allowed: false with"),
        ({"schedule": "divided", "lowest_learning_rate": 1.0}, "must be ≤ dynamics.learning_rate"),
    ],
    ids=["classes", "stacked", "lowest"],
)
def test_what_does_not_fit_is_one_line(changes: dict[str, Any], said: str) -> None:
    with pytest.raises((UserError, ConfigError), match=said):
        built(settings(NET, **{"data": DATA, **changes}))


# The data.


def test_patterns_are_centred_and_on_a_sphere_and_labels_take_turns() -> None:
    made = settings(NET, DATA | {"train": 400}, replicas=2, samples=2)
    x, y = patterns(made)
    # Numbers of single precision.
    np.testing.assert_allclose((x**2).sum(1), 6, rtol=1e-6)
    assert y.tolist() == [-1.0, 1.0] * 200
    # After centring each is scaled by a factor of its own: what is left of the mean is of second order.
    assert np.abs(x.mean(0)).max() < 0.05
    # Moments of a uniform point on the sphere, P d = 2400 numbers: ⟨x⁴⟩ = 3 d/(d + 2); 5 σ.
    fourth = (x**4).mean()
    assert abs(fourth - 3 * 6 / 8) < 5 * (x**4).std() / np.sqrt(x.size)
    other, _ = patterns(made, 1)
    assert np.abs(x - other).min() > 0
    fewer, _ = patterns(settings(NET, DATA | {"train": 20, "centred": False}))
    more, _ = patterns(settings(NET, DATA | {"train": 40, "centred": False}))
    np.testing.assert_array_equal(more[:20], fewer)


# What is counted.


def test_unsatisfied_patterns_are_counted_exactly() -> None:
    record = {
        "times": [0, 40], "waiting_times": [], "lags": [], "snapshots": [0, 40], "energy_examples": 10,
        "gradient_examples": 20, "probes": {"gaps": {"use": PROBES + "Gaps", "times": [40]}},
    }  # fmt: skip
    net, keys = NET | {"margin": 0.2}, EXACT | {"learning_rate": 0.5, "backend": "torch"}
    made = settings(net, DATA, replicas=2, samples=2, **keys)
    found = langevin.run(made.given | {"record": record})
    snapshots = found["snapshot"].transpose("replica", "snapshot_time", ...).to_numpy()
    for k in range(2):
        x, y = patterns(made, k)
        for n in range(2):
            gap = 0.2 - y * outputs(snapshots[k, n], [6, 5, 4, 1], x)
            count = int((gap > 0).sum())
            assert 0 < count < 40
            assert float(found["unsatisfied"][k, n]) == count
            # Without biases: 30 + 20 + 4 weights.
            assert float(found["unsatisfied_per_weight"][k, n]) == pytest.approx(count / 54, rel=1e-15)
        np.testing.assert_allclose(found["gap"][k, -1], gap, rtol=1e-10, atol=1e-12)
    assert found["unsatisfied"].attrs["couplings"] == 54
    assert found["unsatisfied"].attrs["patterns"] == 40


# The steps.


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"momentum": 0.9, "rests": True},
        {"optimiser": "adam", "batches": "full"},
        {"optimiser": "adam", "batches": "full", "rests": True, "schedule": "divided", "division": 7,
         "lowest_learning_rate": 1e-3},
    ],
    ids=str,
)  # fmt: skip
def test_compiled_steps_are_those_of_torch(keys: dict[str, Any]) -> None:
    ends = []
    for backend in ("numba", "torch"):
        network, noise = built(settings(NET | {"margin": 0.6}, DATA, backend=backend, **EXACT | keys))
        assert isinstance(network.units, ReplicaSteppers)
        assert isinstance(network.units.steppers[0], Compiled) == (backend == "numba")
        ends.append(network.advance(network.initial_state(noise), 0, 40, noise))
    # Forty steps of double precision in another order.
    torch.testing.assert_close(ends[0].weights, ends[1].weights, rtol=1e-11, atol=1e-12)
    for name, slot in ends[0].slots.items():
        torch.testing.assert_close(slot, ends[1].slots[name], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("backend", ["numba", "torch"])
def test_a_net_at_rest_stays_with_all_that_adam_remembers(backend: str) -> None:
    keys = {"optimiser": "adam", "batches": "full", "backend": backend, **EXACT, "t_max": 800}
    easy = DATA | {"train": 12}
    network, noise = built(settings(NET, easy, replicas=1, rests=True, **keys))
    state = network.advance(network.initial_state(noise), 0, 600, noise)
    assert gaps.counted(network, state)["unsatisfied"][0] == 0
    later = network.advance(state, 600, 800, noise)
    torch.testing.assert_close(later.weights, state.weights, rtol=0, atol=0)
    assert all(torch.equal(later.slots[name], slot) for name, slot in state.slots.items())
    # The rest is what makes it stay: Adam's memory would carry it on.
    network, noise = built(settings(NET, easy, replicas=1, **keys))
    stop = int(state.slots["steps"][0, 0])
    before = network.advance(network.initial_state(noise), 0, stop, noise)
    torch.testing.assert_close(before.weights, state.weights, rtol=0, atol=0)
    assert not torch.equal(network.advance(before, stop, stop + 1, noise).weights, before.weights)


def satisfiable(x: Array, y: Array) -> bool:
    """Whether weights and a bias satisfy all patterns, by linear programming."""
    rows = -y[:, None] * np.hstack([x, np.ones((len(x), 1))])
    found = linprog(np.zeros(rows.shape[1]), rows, -np.ones(len(rows)), bounds=(None, None), method="highs")
    return bool(found.status == 0)


def test_a_net_without_hidden_layer_is_satisfied_where_a_linear_program_is() -> None:
    data = {"name": "gaussian", "dimension": 4, "train": 10, "test": 4}
    adam = {"optimiser": "adam", "batches": "full", "rests": True, "precision": "double"}
    rates = {"learning_rate": 0.1, "schedule": "divided", "division": 15000, "lowest_learning_rate": 1e-3}
    made = settings(NET | {"widths": []}, data, replicas=24, samples=24, **adam, **rates, t_max=20_000)
    network, noise = built(made)
    state = network.advance(network.initial_state(noise), 0, 20_000, noise)
    jammed = gaps.counted(network, state)["unsatisfied"] > 0
    expected = np.array([not satisfiable(*patterns(made, k)) for k in range(24)])
    assert 5 < expected.sum() < 19
    np.testing.assert_array_equal(jammed, expected)


# Curvature.


def test_the_parts_of_the_hessian_are_those_of_the_formula() -> None:
    record = {
        "times": [20], "waiting_times": [], "lags": [], "snapshots": [20], "gradient_examples": 20,
        "hessian_examples": 100,
        "probes": {
            "parts": {"use": PROBES + "CurvatureParts", "times": [20]},
            "rank": {"use": PROBES + "EffectiveWeights", "times": [20]},
        },
    }  # fmt: skip
    found = langevin.run(
        settings(NET, DATA, replicas=1, t_max=20, backend="torch", **EXACT).given | {"record": record}
    )
    weights = found["snapshot"].to_numpy().ravel()
    x, y = patterns(settings(NET, DATA))
    sizes = [6, 5, 4, 1]
    step = 1e-6 * np.eye(len(weights))
    slopes = np.array([
        (outputs(weights + s, sizes, x) - outputs(weights - s, sizes, x)) / 2e-6 for s in step
    ]).T  # fmt: skip
    gap = 1 - y * outputs(weights, sizes, x)
    part = slopes[gap > 0].T @ slopes[gap > 0] / 40
    first, rest = (found[n][0, 0].to_numpy() for n in ("gauss_newton_part", "remaining_part"))
    # Differences of outputs of order 1 by 10⁻⁶ leave 10⁻¹⁰.
    np.testing.assert_allclose(first, np.linalg.eigvalsh(part), atol=1e-8)
    # A net of ReLU is linear in each layer: H_p has no diagonal, and a spectrum that adds up to 0.
    assert abs(rest.sum()) < 1e-12 and rest.max() > 1e-3
    rank = np.linalg.matrix_rank(slopes, 1e-7 * np.linalg.norm(slopes, 2))
    assert int(found["effective_weights"][0, 0]) == rank < len(weights)


# Where they jam.


def test_cover_counts_what_enumeration_does() -> None:
    rng = np.random.default_rng(1)
    for count, d in ((4, 2), (6, 3), (5, 4), (3, 3)):
        x = rng.standard_normal((count, d))
        separated = sum(
            linprog(np.zeros(d), -np.array(y)[:, None] * x, -np.ones(count), bounds=(None, None)).status == 0
            for y in product((-1, 1), repeat=count)
        )
        assert jamming.separable(count, d) == pytest.approx(separated / 2**count, rel=1e-12)
    assert jamming.separable([20, 200, 2000], 10)[0] == pytest.approx(0.5, rel=1e-12)
    assert jamming.separable(2000, 1000) == pytest.approx(0.5, rel=1e-9)


def drawn(rng: np.random.Generator, ratios: Array, fraction: Array, nets: int) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = rng.random((len(ratios), nets)) < fraction[:, None]
    return found


def test_the_jamming_point_of_cover_is_two_within_its_error() -> None:
    rng, d = np.random.default_rng(2), 40
    counts = np.arange(60, 102, 6)
    fraction = 1 - jamming.separable(counts, d)
    pulls = []
    for _ in range(60):
        point = jamming.jamming_point(counts / d, drawn(rng, counts, fraction, 10), resamples=100)
        pulls.append((point.value - 2) / point.error)
    # The mean of 60 has an error of 0.13, their deviation one of 0.09: 5 σ, and some room for an error that
    # is the larger of two.
    assert abs(np.mean(pulls)) < 0.65
    assert 0.55 < np.std(pulls) < 1.45


def test_a_step_is_known_to_its_gap() -> None:
    ratios = np.array([1.0, 2.0, 3.0, 4.0])
    point = jamming.jamming_point(ratios, np.repeat([[0], [0], [1], [1]], 30, axis=1))
    assert point.value == pytest.approx(2.5, abs=0.02)
    # No less than a number somewhere in a gap of 1, up to the width that the nets allow.
    assert 0.15 < point.error < 1 / np.sqrt(12)
    with pytest.raises(ValueError, match="none of the nets are jammed"):
        jamming.jamming_point(ratios, np.zeros((4, 3)))
    with pytest.raises(ValueError, match="at least two ratios"):
        jamming.jamming_point([1.0], np.zeros((1, 3)))


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A sweep of the smallest nets over P, from satisfied to jammed ones."""
    given = settings(
        NET | {"widths": [3]}, DATA | {"dimension": 3, "train": 10}, replicas=4, samples=4,
        optimiser="adam", batches="full", rests=True, t_max=400, learning_rate=0.05, backend="torch",
        record={"times": [0, 400], "waiting_times": [], "lags": [], "gradient_examples": 20,
                "probes": {"gaps": {"use": PROBES + "Gaps", "times": [400]}}},
    ).given  # fmt: skip
    path: Path = tmp_path_factory.mktemp("sweep") / "sweep.nc"
    given = {**given, "sweep": {"data.train": [4, 40]}, "output": {"path": str(path), "figure": False}}
    return langevin.run(given)


def test_a_sweep_over_patterns_has_its_figure(sweep: Any) -> None:
    (line,) = lines_of(sweep)
    # 12 weights without biases.
    np.testing.assert_allclose(line.ratios, [4 / 12, 40 / 12])
    assert (line.unsatisfied[0] == 0).all() and (line.unsatisfied[1] > 0.1).all()
    assert line.point is not None and 4 / 12 < line.point.value < 40 / 12
    assert [g.shape for g in line.gaps if g is not None] == [(4, 4), (4, 40)]
    figure = plotting.figure(sweep)
    words = [text.get_text() for text in figure.legends[0].get_texts()]
    assert words and words[0].startswith("$r_J$ = ")
    assert figure.axes[0].get_xlabel() == "patterns for each weight $r = P/N$"


def test_nets_of_several_sizes_are_lines_of_their_own() -> None:
    def swept(key: str, values: list[Any]) -> tuple[str, list[Any], dict[str, str]]:
        return ("net", values, {"sweep_key": key})

    sizes = xr.Dataset(
        coords={
            "net": list("abcd"),
            "dimension": swept("data.dimension", [5, 5, 8, 8]),
            "widths": swept("system.widths", ["5, 5", "5, 5", "8, 8", "8, 8"]),
            "train": swept("data.train", [9, 18, 20, 40]),
        }
    )
    # Widths and dimension go together: one of them says it.
    assert beside_patterns(sizes, "net") == {"widths": ["5, 5", "5, 5", "8, 8", "8, 8"]}
    assert spoken("widths", "5, 5") == "2 hidden layers of 5"
    sets = sizes.drop_vars(["widths", "dimension"]).assign_coords(
        labels=swept("data.labels", ["given", "given", "shuffled", "given"]),
        inputs=swept("data.inputs", ["given", "gaussian_matched", "given", "given"]),
    )
    assert list(beside_patterns(sets, "net")) == ["labels", "inputs"]
    assert beside_patterns(sets.drop_vars(["labels", "inputs"]), "net") == {}


def test_quenches_that_end_above_zero_are_counted_at_every_ratio(sweep: Any) -> None:
    """Losses below 10⁻⁶ are the bottom; from t = 0 all quenches above it are those of the large P."""
    found = sweep.expand_dims(inherent_time=[0.0, 400.0], axis=-1)["energy"].isel(time=-1, drop=True) * 0
    (dim,) = [str(d) for d in found.dims if d not in ("replica", "inherent_time")]
    late = xr.where(found["replica"] < 2, 1e-9, 1e-2)
    early = xr.DataArray([5e-7, 0.3], dims=dim)
    losses = xr.concat([found[..., 0] + early, found[..., 1] + late], "inherent_time")
    given = sweep.assign(inherent_energy=losses.transpose(dim, "replica", "inherent_time"))
    given = given.assign_coords(inherent_time=("inherent_time", [0.0, 400.0], {"units": "steps"}))
    quenches = quenches_of(given)
    assert list(quenches) == [0.0, 400.0]
    np.testing.assert_allclose(quenches[0.0].ratios, [4 / 12, 40 / 12])
    np.testing.assert_array_equal(quenches[0.0].loss > 1e-6, [[False] * 4, [True] * 4])
    np.testing.assert_array_equal(quenches[400.0].loss > 1e-6, [[False, False, True, True]] * 2)
    point = quenches[0.0].point
    assert point is not None and 4 / 12 < point.value < 40 / 12
    assert plotting.quantities(given).count("bad_minima") == 1
    left, right = plotting.figure(given).axes
    assert left.get_ylabel() == "loss of the inherent structure"
    first, *_ = (text.get_text() for text in right.get_legend().get_texts())
    assert first == f"half at {point.value:.2f} ± {point.error:.2f}"


def test_run_files_have_the_published_protocol() -> None:
    import tomllib

    for layers, width, couplings in ((2, 62, 7750), (3, 51, 7854), (5, 40, 8040)):
        given = tomllib.loads((ROOT / f"runs/jamming_random_{layers}.toml").read_text())
        assert given["system"]["widths"] == [width] * layers
        assert given["data"]["dimension"] == width
        assert layers * width**2 + width == couplings
        ratios = np.array(given["sweep"]["data.train"]) / couplings
        assert ratios.min() == pytest.approx(2.7 if layers != 3 else 2.8, abs=2e-3)
        assert ratios.max() == pytest.approx(3.3, abs=2e-3)
        keys = "optimiser", "learning_rate", "division", "lowest_learning_rate", "t_max"
        assert [given["dynamics"][k] for k in keys] == ["adam", 1e-4, 250_000, 1e-7, 10**7]
