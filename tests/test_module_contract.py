"""Any torch.nn.Module gives in a run what it gives by itself, or is refused in one line.

By itself: a loop of torch.optim.SGD over full batches in double precision, and sums over examples.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import by_hand
import numpy as np
import odd_modules
import pytest
import torch
import xarray as xr
from by_hand import SUMS, TIMES, WAITING
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from langevin.analysis import connect
from langevin.analysis.ensemble.command import ensembles
from langevin.commands.cli import main
from langevin.config import run_files
from langevin.core.noise import Noise
from langevin.errors import UserError
from langevin.results import configurations, rebuild
from langevin.sweep import simulation
from langevin.systems.networks.network import Network
from langevin.systems.networks.trials import contract

Maker = Callable[..., dict[str, Any]]

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning"),
    pytest.mark.filterwarnings("ignore:There is a performance drop"),
    pytest.mark.filterwarnings("ignore:Converting a tensor with requires_grad"),
]


#: Central differences of a gradient: (10⁻⁶)² times fourth derivatives, and roundings over 10⁻⁶.
DIFFERENCES = 1e-6


def check(
    tables: dict[str, Any], folder: Path, coupled: bool, smooth: bool = True, modal: bool = False
) -> None:
    """Hold run, resume, ensemble, [start] and Hessian to the module itself."""
    path = by_hand.run(tables, folder / "run.nc")
    network = by_hand.system(run_files.load(tables))
    assert network.traits.modal == modal
    courses = [by_hand.course(network, k, modal) for k in range(2)]
    with xr.open_dataset(path) as made:
        for name in ("energy", "test_loss"):
            same(made[name].sel(time=TIMES), [getattr(c, name) for c in courses])
        if not coupled:
            same(made["gradient_norm"].sel(time=TIMES), [c.gradient_norm for c in courses])
            same(made["gradient_noise"].sel(waiting_time=WAITING), [c.noise for c in courses])
        final, energy = (made[name].sel(time=TIMES[-1]).to_numpy() for name in ("test_loss", "energy"))
        if smooth:
            examples, _ = by_hand.whole(network)
            for k, course in enumerate(courses):
                expected = np.linalg.eigvalsh(by_hand.hessian(course.module, *examples))
                found = np.sort(made["hessian_eigenvalue"][k, 0])
                np.testing.assert_allclose(found, expected, atol=DIFFERENCES * np.abs(expected).max())
    same(simulate_restart(network), courses[0].energy[-1:])
    members = ensembles([path], size=1)["member_loss"].to_numpy().ravel()
    same(members, final)
    begun = {**tables, "start": {"file": str(path)}}
    begun["ensemble"] = {**tables["ensemble"], "seed": 11}
    begun["record"] = {**tables["record"], "hessian": []}
    with xr.open_dataset(by_hand.run(begun, folder / "begun.nc")) as made:
        same(made["energy"].sel(time=0), energy)


def check_curve(path: Path) -> None:
    """Hold the ends of a curve to what its run measured there, unless there is nothing to join."""
    with xr.open_dataset(path) as made:
        apart = "constants" in made and bool((made["constants"][0] != made["constants"][1]).any())
        moving, energy = "snapshot_buffers" in made, made["energy"][:, -1].to_numpy()
    quiet = {"dynamics.t_max": 3, "record.positions": 3, "output.figure": False, "ensemble.replicas": 1}
    curve = connect.settings(path, overrides=quiet)
    output = path.with_name("curve.nc")
    if apart:
        with pytest.raises(UserError, match="differ in what is frozen"):
            simulation.execute(curve, output)
        return
    with xr.open_dataset(simulation.execute(curve, output)) as made:
        if not moving:
            same(made["curve_energy"][0, [0, -1]], energy)


def same(found: Any, expected: Any) -> None:
    """Compare with what the module gives by itself."""
    expected = np.asarray(expected)
    np.testing.assert_allclose(found, expected, rtol=SUMS, atol=SUMS * (1 + np.abs(expected).max()))


def simulate_restart(network: Network) -> list[float]:
    """Return the last energy of replica 0, with the state saved and loaded on the way."""
    noise = Noise(3, network.ensemble.replica)
    state = network.advance(network.initial_state(noise), 0, TIMES[1], noise)
    state = network.load_state(network.state_dict(state))
    state = network.advance(state, TIMES[1], TIMES[-1], noise)
    return [float(network.measure(state)["energy"][0])]


#: Those that differ most are tried by default, all of them in slow tests.
QUICK = {"old_weight_norm", "spectral_norm", "tied", "Frozen", "Mask", "Running", "batch_norm", "Ranged"}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[] if n in QUICK else pytest.mark.slow) for n in odd_modules.CARRIED]
)
def test_modules_are_what_they_are_by_themselves(name: str, tmp_path: Path) -> None:
    tables = by_hand.given(f"odd_modules:{name}")
    smooth = name not in odd_modules.UNSMOOTH | odd_modules.UNCURVED
    if name in odd_modules.UNCURVED:
        tables["record"]["hessian"] = []
    check(tables, tmp_path, name in odd_modules.COUPLED, smooth, name in odd_modules.MODAL)


@pytest.mark.parametrize("name", odd_modules.REFUSED)
def test_what_no_run_can_carry_is_one_line(name: str) -> None:
    tables = by_hand.given(f"odd_modules:{name}")
    with pytest.raises(UserError) as caught:
        by_hand.system(run_files.load(tables))
    said = str(caught.value)
    assert odd_modules.REFUSED[name] in said and said.startswith("system: ") and "\n" not in said


SENTENCES = st.lists(st.sampled_from(sorted(odd_modules.LAYERS)), min_size=1, max_size=5)


def hold(spec: list[str], folder: Path) -> None:
    coupled = any(word.startswith("batch_norm") for word in spec)
    modal = not coupled and bool({"noted", "spectral_norm"} & set(spec))
    check(by_hand.given("odd_modules:grammar", {"spec": spec}), folder, coupled, modal=modal)
    # Counts never come to rest: of such nets no point between two is known.
    if "noted" not in spec:
        check_curve(folder / "run.nc")


@settings(max_examples=8, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(spec=SENTENCES)
def test_sentences_of_layers(spec: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    hold(spec, tmp_path_factory.mktemp("sentence"))


@pytest.mark.slow
@settings(max_examples=300, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(spec=SENTENCES)
def test_many_sentences_of_layers(spec: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    hold(spec, tmp_path_factory.mktemp("sentence"))


def test_frozen_features_are_each_replica_s_own(tmp_path: Path) -> None:
    """A curve between two nets of other features would join nothing."""
    path = by_hand.run(by_hand.given("odd_modules:Frozen", record__hessian=[]), tmp_path / "frozen.nc")
    with xr.open_dataset(path) as made:
        assert (made["constants"][0] != made["constants"][1]).all()
    curve = connect.settings(path, overrides={"dynamics.t_max": 5})
    with pytest.raises(UserError, match=r"replica 0 of .* and replica 1 of .* differ in what is frozen"):
        simulation.execute(curve, tmp_path / "curve.nc")
    assert not (tmp_path / "curve.nc").exists()


def test_curves_have_the_frozen_features_of_their_ends(tmp_path: Path) -> None:
    """Two runs from one seed, and so with the same features, by other batches."""
    tables = by_hand.given("odd_modules:Frozen", record__hessian=[], dynamics__batches="iid")
    tables["dynamics"]["batch_size"] = 10
    paths = []
    for rate in (0.05, 0.08):
        tables["dynamics"]["learning_rate"] = rate
        paths.append(by_hand.run(tables, tmp_path / f"{rate}.nc"))
    quiet = {"dynamics.t_max": 4, "record.positions": 5, "output.figure": False}
    curve = connect.settings(*paths, overrides={**quiet, "record.energy_examples": 1000})
    with xr.open_dataset(simulation.execute(curve, tmp_path / "curve.nc")) as made:
        ends = made["curve_energy"][:, [0, -1]].to_numpy()
    for k, path in enumerate(paths):
        with xr.open_dataset(path) as made:
            same(ends[:, k], made["energy"][:, -1])


def test_times_of_a_curve_follow_its_end(tmp_path: Path) -> None:
    path = by_hand.run(by_hand.given("odd_modules:plain", record__hessian=[]), tmp_path / "plain.nc")
    settings = connect.settings(path, overrides={"dynamics.t_max": 7})
    assert max(settings.record.times.as_given()) == 7


def test_another_module_than_that_of_the_run_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What no hash of sources tells: numbers that code reads from elsewhere."""
    path = by_hand.run(by_hand.given("odd_modules:plain", record__hessian=[]), tmp_path / "plain.nc")
    rebuild.rebuilt(configurations.read(path))
    monkeypatch.setattr(torch, "tanh", torch.sin)
    monkeypatch.setattr(nn.Tanh, "forward", lambda self, x: torch.sin(x))
    for use in (lambda: rebuild.rebuilt(configurations.read(path)), lambda: ensembles([path])):
        with pytest.raises(UserError, match=r"replica 0 has the energy .* as its network is now"):
            use()


@pytest.mark.parametrize("name", ["fully_connected", "lenet", "small_net", "mlp", "toy", "resnet18", "vgg16"])
def test_nets_of_our_own_keep_the_contract(name: str, small: Maker) -> None:
    """They are not tried before a run; what their layers tell is what a trial finds."""
    network = by_hand.system(run_files.load(small(name)))
    tried = contract.traits(network)
    assert (tried.couples, tried.moving) == (network.traits.couples, network.traits.moving)
    assert not tried.remembers and not tried.reassigns
    contract.tried(network)


def test_planes_lie_in_one_network(tmp_path: Path) -> None:
    """Three nets with other frozen features span no plane; one net's course does."""
    tables = by_hand.given("odd_modules:Frozen", record__hessian=[], ensemble__replicas=3)
    path = by_hand.run(tables, tmp_path / "frozen.nc")
    ran = CliRunner().invoke(main, ["plane", str(path), "--grid", "3", "-o", str(tmp_path / "plane.nc")])
    assert ran.exit_code == 2 and "what is frozen there differs" in ran.output
    words = ["plane", "--principal", str(path), "--replica", "1", "--grid", "3", "-o", str(tmp_path / "p.nc")]
    ran = CliRunner().invoke(main, words)
    assert ran.exit_code == 0, ran.output


class Late(nn.Module):
    """Draws random numbers from the sixth pass on."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.a = nn.Linear(16, classes)
        self.register_buffer("passes", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.a(x.flatten(1))
        if self.training:
            self.passes += 1
        return y + torch.randn_like(y) if self.training and self.passes > 5 else y


def test_noise_that_comes_late_ends_the_run(tmp_path: Path) -> None:
    tables = by_hand.given("test_module_contract:Late", record__hessian=[])
    with pytest.raises(UserError, match="Late, or its loss, draws random numbers, though not from the start"):
        by_hand.run(tables, tmp_path / "late.nc")


def causal(classes: int) -> nn.Module:
    """Examples that know those before them in the batch, in training mode."""

    class Causal(odd_modules.Simple):
        def forward(self, x: Tensor) -> Tensor:
            h = super().forward(x)
            count = torch.arange(1.0, 1.0 + len(h), dtype=h.dtype)[:, None]
            return 0.5 * (h + h.cumsum(0) / count) if self.training else h

    return Causal(classes)


def test_coupling_that_spares_the_first_example_is_seen() -> None:
    assert by_hand.system(run_files.load(by_hand.given("test_module_contract:causal"))).traits.couples
