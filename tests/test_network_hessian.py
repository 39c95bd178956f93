"""The Hessian of a network's loss: against finite differences, torch's own and curvlinops; its runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import xarray as xr
from small_nets import built, settings
from test_restart import assert_same, interrupted
from torch import Tensor, nn

from langevin.config import run_files
from langevin.config.keys import Section, key
from langevin.core.system import DataSet
from langevin.observables.landscape import spectra
from langevin.record.hessian import Spectra
from langevin.sweep import simulation
from langevin.systems.networks.data.base import Data, Examples
from langevin.systems.networks.measure import perceptron_hessian
from langevin.systems.networks.measure.curvature import LossHessian
from langevin.systems.networks.network import Network

pytestmark = pytest.mark.usefixtures("one_thread")

IMAGES = {"name": "synthetic", "like": "cifar10", "train": 24, "test": 8}

NETS: dict[str, dict[str, Any]] = {
    "tanh": {"name": "mlp", "widths": [3, 2]},
    "relu, three layers": {"name": "mlp", "widths": [2, 3, 4], "activation": "relu"},
    "squared error": {"name": "mlp", "widths": [3, 3], "loss": "mse_loss"},
    "no hidden layer": {"name": "network", "module": "torch.nn:Sequential"},
    "sigmoid outputs": {"name": "toy", "hidden": 2},
    "not in closed form": {"name": "network", "module": "test_network_hessian:softplus"},
    "batch-norm": {"name": "network", "module": "small_nets:Normalised"},
}


def small_data(shape: int = 5, count: int = 40) -> dict[str, Any]:
    return {"name": "test_network_hessian:Cloud", "features": shape, "count": count}


class Cloud(DataSet):
    """Points of few features in three classes: nets with few weights."""

    class Parameters(Section):
        features: int = key("features", default=5, ge=1)
        count: int = key("points", default=40, ge=1)

    def __init__(self, parameters: Any) -> None:
        self.parameters = parameters

    def load(self, ensemble: Any) -> Data:
        count, features = self.parameters.count, self.parameters.features
        rng = ensemble.quenched("data", 0)
        labels = rng.integers(3, size=count)
        inputs = rng.standard_normal((count, features)) + labels[:, None]
        points = Examples(inputs.astype(np.float32), labels)
        rows = {int(s): np.arange(count) for s in np.unique(ensemble.sample)}
        one = np.ones(features, np.float32)
        return Data("cloud", points, points, 3, one, 0 * one, rows, rows)


def no_hidden_layer(shape: tuple[int, ...], classes: int) -> nn.Module:
    """One linear layer."""
    return nn.Sequential(nn.Flatten(), nn.Linear(int(np.prod(shape)), classes))


def softplus(shape: tuple[int, ...], classes: int) -> nn.Module:
    """An activation that the closed form does not know."""
    size = int(np.prod(shape))
    return nn.Sequential(nn.Flatten(), nn.Linear(size, 3), nn.Softplus(), nn.Linear(3, classes))


def trained(
    system: dict[str, Any], data: dict[str, Any] | None = None, steps: int = 5, **keys: Any
) -> tuple[Network, Any]:
    """Return a system after some steps, and its state."""
    if system.get("module") == "torch.nn:Sequential":
        system = {**system, "module": "test_network_hessian:no_hidden_layer"}
    record = {"hessian_examples": keys.pop("examples", 30)}
    # Steps of torch: nothing to compile.
    keys = {"learning_rate": 0.3, "backend": "torch", **keys}
    made = settings(system, data or small_data(), record=record, **keys)
    net, noise = built(made)
    state = net.initial_state(noise)
    return net, net.advance(state, 0, steps, noise)


def reference(net: Network, state: Any, position: int) -> tuple[nn.Module, Tensor, Tensor]:
    """Return the module at a replica's weights, in double precision and evaluation mode, and its examples."""
    module = net.built(0).double()
    with torch.no_grad():
        for parameter, view in zip(
            (p for p in module.parameters() if p.requires_grad),
            net.layout.views(state.weights[position].double()),
            strict=True,
        ):
            parameter.copy_(view)
        for buffer, kept in zip(module.buffers(), state.buffers, strict=True):
            buffer.copy_(kept[position])
    inputs, labels = net.train.gather(net.chosen.curved[int(net.ensemble.replica[position])].index)
    return module.eval(), inputs.double(), labels


class Moved:
    """The gradient of the mean loss beside a replica's weights, by torch alone."""

    def __init__(self, net: Network, state: Any, position: int) -> None:
        self.net = net
        self.module, self.inputs, self.labels = reference(net, state, position)
        self.parameters = [*self.module.parameters()]
        self.weights = torch.nn.utils.parameters_to_vector(self.parameters).detach()

    def gradient(self, shift: np.ndarray) -> np.ndarray:
        torch.nn.utils.vector_to_parameters(self.weights + torch.from_numpy(shift), self.parameters)
        loss = self.net.loss.mean(self.module(self.inputs), self.labels)
        return torch.cat([g.reshape(-1) for g in torch.autograd.grad(loss, self.parameters)]).numpy()


@pytest.mark.parametrize("which", NETS)
def test_the_matrix_is_the_slope_of_the_gradient(which: str) -> None:
    """Central differences, in double precision: off by the step's square and by rounding over the step."""
    net, state = trained(NETS[which])
    operator = net.hessian(state, 1)
    matrix, step = operator.dense(), 1e-5
    assert matrix.shape == (net.dof, net.dof)
    np.testing.assert_allclose(matrix, matrix.T, rtol=0, atol=1e-14)
    at, columns = Moved(net, state, 1), []
    for direction in np.eye(net.dof):
        columns.append((at.gradient(step * direction) - at.gradient(-step * direction)) / (2 * step))
    np.testing.assert_allclose(matrix, np.array(columns).T, rtol=0, atol=1e-8)
    assert np.abs(matrix).max() > 1e-2


@pytest.mark.parametrize("which", NETS)
def test_products_and_matrix_agree(which: str, monkeypatch: pytest.MonkeyPatch) -> None:
    net, state = trained(NETS[which])
    operator = net.hessian(state, 2)
    vectors = np.random.default_rng(0).standard_normal((net.dof, 3))
    expected = operator.dense() @ vectors
    np.testing.assert_allclose(operator.matvec(vectors), expected, rtol=0, atol=1e-13)
    # In pieces, of examples and of vectors.
    monkeypatch.setattr(type(net.train), "piece", property(lambda self: 7))
    monkeypatch.setattr(perceptron_hessian, "PIECE", 1000)
    monkeypatch.setattr("langevin.systems.networks.measure.curvature.TOGETHER", 2)
    np.testing.assert_allclose(operator.matvec(vectors), expected, rtol=0, atol=1e-13)
    np.testing.assert_allclose(operator.dense() @ vectors, expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("which", ["tanh", "relu, three layers", "squared error", "batch-norm"])
def test_it_is_that_of_curvlinops(which: str) -> None:
    from curvlinops import HessianLinearOperator

    class Mean(nn.Module):
        """The loss as curvlinops asks for it."""

        reduction = "mean"

        def forward(self, outputs: Tensor, labels: Tensor) -> Tensor:
            return net.loss.mean(outputs, labels)

    net, state = trained(NETS[which])
    module, inputs, labels = reference(net, state, 0)
    theirs = HessianLinearOperator(module, Mean(), [*module.parameters()], [(inputs, labels)])
    expected = (theirs @ torch.eye(net.dof, dtype=torch.float64)).numpy()
    np.testing.assert_allclose(net.hessian(state, 0).dense(), expected, rtol=0, atol=1e-13)


def test_many_inputs_take_the_other_order_of_sums() -> None:
    """The products of inputs are formed, or those of outputs with inputs: whichever are fewer."""
    net, state = trained({"name": "mlp", "widths": [2]}, small_data(30))
    operator = net.hessian(state, 0)
    np.testing.assert_allclose(operator.dense(), operator.matvec(np.eye(net.dof)), rtol=0, atol=1e-13)


@pytest.mark.parametrize(
    "system", [{"name": "small_net", "filters": [2, 3], "hidden": 4}, {"name": "resnet18", "width": 2}]
)
def test_convolutions_have_a_hessian(system: dict[str, Any]) -> None:
    """Compiled layers are out of it; the slope of the gradient along two directions."""
    net, state = trained(system, IMAGES, steps=2, examples=6)
    operator = net.hessian(state, 0)
    vectors = np.random.default_rng(0).standard_normal((net.dof, 2))
    products = operator.matvec(vectors)
    crossed = vectors.T @ products
    assert crossed[0, 1] == pytest.approx(crossed[1, 0], rel=1e-10)
    # Shorter than the way to the next kink of ReLU, for nearly all units.
    at, step = Moved(net, state, 0), 1e-7 * vectors[:, 0]
    slope = (at.gradient(step) - at.gradient(-step)) / 2e-7
    np.testing.assert_allclose(products[:, 0], slope, rtol=0, atol=1e-5 * np.abs(slope).max())


def test_weight_decay_and_mode_leave_it_alone() -> None:
    """The energy is without weight decay, and so is its Hessian; measuring does not touch the weights."""
    plain, state = trained(NETS["batch-norm"], weight_decay=0.0)
    decayed, _ = trained(NETS["batch-norm"], weight_decay=0.5)
    before = {k: v.copy() for k, v in plain.state_dict(state).items()}
    np.testing.assert_array_equal(decayed.hessian(state, 0).dense(), plain.hessian(state, 0).dense())
    for name, value in plain.state_dict(state).items():
        np.testing.assert_array_equal(value, before[name])
    assert plain.units.probes[0].module.training


def test_double_precision_whatever_the_run_has() -> None:
    """Both start from weights drawn in single precision, and the inputs are the same numbers."""
    found = []
    for precision in ("single", "double"):
        net, state = trained(NETS["tanh"], steps=0, precision=precision)
        assert state.weights.dtype == (torch.float32 if precision == "single" else torch.float64)
        found.append(net.hessian(state, 0).matvec(np.eye(net.dof)))
    # Rounding in single precision would leave 1e-8.
    np.testing.assert_allclose(found[0], found[1], rtol=0, atol=1e-15)


def test_the_mean_is_over_the_seeded_subset() -> None:
    net, state = trained(NETS["tanh"], examples=7)
    assert all(len(index) == 7 for index in net.chosen.curved.values())
    everything, other = trained(NETS["tanh"], examples=1000)
    assert sorted(everything.chosen.curved[0].index.tolist()) == list(range(40))
    assert (net.hessian(state, 0).dense() != everything.hessian(other, 0).dense()).any()
    assert net.attributes()["hessian"]["examples"] == 7


def test_a_loss_that_is_linear_in_the_weights_has_none() -> None:
    net, state = trained({**NETS["no hidden layer"], "loss": "test_network_hessian:first_output"})
    assert isinstance(net.hessian(state, 0), LossHessian)
    np.testing.assert_array_equal(net.hessian(state, 0).dense(), 0)


def first_output(outputs: Tensor, labels: Tensor, reduction: str) -> Tensor:
    """A loss of one's own: the first output."""
    return outputs[:, 0].mean() if reduction == "mean" else outputs[:, 0]


def network_run(**record: Any) -> dict[str, Any]:
    return {
        "system": {"name": "mlp", "widths": [4, 4, 4]},
        "data": small_data(2),
        "dynamics": {"t_max": 60, "batch_size": 8, "learning_rate": 0.3, "device": "cpu", "backend": "torch"},
        "ensemble": {"replicas": 3, "seed": 3},
        "record": {"waiting_times": [5], "lags": [5], "times": {"per_decade": 4}, **record},
    }


@pytest.mark.parametrize("keys", [{}, {"hessian_exact": 0, "hessian_steps": 6}], ids=["exact", "lanczos"])
def test_a_run_with_spectra_resumes_to_the_same_bits(
    keys: dict[str, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {**network_run(hessian=[0, 7, 60], **keys), "output": {"path": str(tmp_path / "whole.nc")}}
    simulation.execute(run_files.load(given))
    given["output"] = {"path": str(tmp_path / "stopped.nc")}
    paths = interrupted(given, monkeypatch, 0, after=10)
    simulation.resume(paths.result).close()
    assert_same(tmp_path / "whole.nc", paths.result)
    with xr.open_dataset(paths.result) as found:
        main = found["ritz_value" if keys else "hessian_eigenvalue"]
        assert main.attrs["examples"] == 40 and "without weight decay" in main.attrs["definition"]
        assert found["hessian_time"].attrs["units"] == "steps"
        assert found["hessian_time"].values.tolist() == [0, 7, 60]
        assert np.isfinite(main).all()
        assert keys or main.sizes["mode"] == main.attrs["rows"] == 3 * 4 + 5 * 4 + 5 * 4 + 5 * 3
        summary = spectra.summary(found)
        assert (summary["highest"] > 0).all() and np.isfinite(summary["trace_per_row"]).all()


@pytest.mark.parametrize("keys", [{}, {"hessian_exact": 0, "hessian_steps": 4}], ids=["exact", "lanczos"])
def test_threads_do_not_change_a_bit(keys: dict[str, int]) -> None:
    made, found = run_files.load(network_run(hessian=[0], **keys)), []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        net, noise = built(made, threads)
        measure = Spectra(made.record, net.ensemble, net)
        found.append(measure.measure(net.initial_state(noise), 0.0))
        assert torch.get_num_threads() == threads
    for name, (_, values) in found[0].items():
        np.testing.assert_array_equal(found[1][name][1], values)


def test_the_closed_form_follows_torch_at_kinks() -> None:
    """ReLU at zero has no slope: an input of zeros with no bias."""
    net, state = trained(NETS["relu, three layers"])
    state.weights.zero_()
    operator = net.hessian(state, 0)
    np.testing.assert_allclose(operator.dense(), operator.matvec(np.eye(net.dof)), rtol=0, atol=1e-15)
    outputs = torch.zeros(1, 3, dtype=torch.float64, requires_grad=True)
    curved = torch.autograd.functional.hessian(lambda z: F.cross_entropy(z, torch.tensor([0])), outputs)
    assert np.abs(operator.dense()).max() == pytest.approx(float(curved.abs().max()), rel=1e-12)
