"""Coverage of what is measured of networks on subsets of the examples, and of Hessians.

A large run of small nets is measured twice: on all examples, which gives the truth, and on subsets, a subset
of its own for each replica. Virtual runs are cut from the second.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from judging import Row, judge, virtual_runs

from langevin.config import build, run_files
from langevin.core.ensemble import Ensemble
from langevin.core.noise import Noise
from langevin.observables.landscape.hessian import spectrum
from langevin.observables.statistics import average
from langevin.systems.networks.measure.measurement import PARTS
from langevin.systems.networks.network import Network

REPLICAS, RUNS, STEPS = 1600, 300, 250
#: Examples, and those that are measured.
ALL, SOME = 600, 120
#: Quantity → samples in a virtual run. Squares have long tails: their means need more samples.
QUANTITIES = {
    "energy": (2, 4),
    "test_loss": (2, 4),
    "train_accuracy": (2, 4),
    "test_accuracy": (2, 4),
    "gradient_noise": (2, 4),
    "gradient_square": (8, 16),
}
HESSIANS, PROBES = 800, (32,)


def network(examples: int, replicas: int, system: dict[str, Any], **dynamics: Any) -> tuple[Network, Noise]:
    """Return nets that learn from one sample of molecules, and are measured on so many of these."""
    names = ("energy_examples", "gradient_examples", "hessian_examples")
    made = run_files.load(
        {
            "system": system,
            "data": {"name": "ljat", "points": 4000, "train": ALL, "test": ALL},
            "dynamics": {"learning_rate": 0.1, "batch_size": 40, "t_max": STEPS, "device": "cpu", **dynamics},
            "ensemble": {"replicas": replicas, "samples": 1, "seed": 11},
            "record": dict.fromkeys(names, examples),
        }
    )
    ensemble = Ensemble.regular(replicas, 1, 11)
    built = build.build(made, ensemble)
    assert isinstance(built, Network)
    return built, Noise(11, ensemble.replica)


def rows() -> list[Row]:
    """Return rows of the table."""
    small = {"name": "mlp", "widths": [6, 5], "activation": "tanh"}
    whole, noise = network(ALL, REPLICAS, small)
    state = whole.advance(whole.initial_state(noise), 0, STEPS, noise)
    part, _ = network(SOME, REPLICAS, small)
    true, found = ({**n.measure(state), **n.at_waiting(state)} for n in (whole, part))
    made = []
    for name, numbers in QUANTITIES.items():
        truth = float(true[name].mean())
        made += [_averages(name, name, found[name], truth, samples) for samples in numbers]
        if f"{name}_error" in found:
            # One replica, by what the file says of it.
            degrees = PARTS - 1 if name == "gradient_noise" else SOME - 1
            each = slice(0, RUNS)
            errors = found[f"{name}_error"][each]
            words = f"{name}, one replica, over examples"
            made.append(judge(words, name, 1, true[name][each], found[name][each], errors, degrees))
    return made + _normalised() + _curved(whole, part, state)


def _averages(name: str, key: str, values: np.ndarray, truth: float, samples: int) -> Row:
    array = xr.DataArray(values, dims="replica")
    cut = [average(array.isel(replica=s)) for s in virtual_runs(len(values), samples)[:RUNS]]
    pairs = np.array([(float(m.mean), float(m.error)) for m in cut])
    return judge(name, key, samples, truth, *pairs.T)


def _normalised() -> list[Row]:
    """With batch-norm: D from mini-batches, against that of many more of them."""
    system = {"name": "network", "module": "error_bar_nets:Normalised"}
    replicas = 800
    keys = {"batch_size": 20, "learning_rate": 0.05}
    part, noise = network(160, replicas, system, **keys)
    state = part.advance(part.initial_state(noise), 0, 30, noise)
    # The weights of one, for all: what differs are the mini-batches.
    one = {"weights": state.weights[:1].repeat(replicas, 1)}
    state = replace(state, **one, buffers=[b[:1].expand_as(b).clone() for b in state.buffers])
    found = part.at_waiting(state)
    values, errors = found["gradient_noise"], found["gradient_noise_error"]
    truth = float(values.mean())
    name = "gradient_noise, batch-norm"
    made = [_averages(name, "gradient_noise", values, truth, samples) for samples in (4,)]
    words = f"{name}, one replica, over batches"
    return [*made, judge(words, "gradient_noise", 1, truth, values[:RUNS], errors[:RUNS], 6)]


def _curved(whole: Network, part: Network, state: Any) -> list[Row]:
    """Trace and edges, exactly on subsets, and of one replica by random vectors."""
    exact = np.array([_spectrum(whole, state, k) for k in range(HESSIANS)])
    some = np.array([_spectrum(part, state, k) for k in range(HESSIANS)])
    made = []
    for samples in (2, 4):
        for column, name in enumerate(("trace", "lowest", "highest")):
            # The edge of a mean over few examples lies outside of that over all: it stands for the former.
            truth = float((exact if name == "trace" else some)[:, column].mean())
            words = f"Hessian's {name}"
            made.append(_averages(words, f"hessian_{name}", some[:, column], truth, samples))
    for probes in PROBES:
        probed = np.array([_probed(whole, state, k, probes) for k in range(RUNS)])
        words = "Hessian's trace, one replica, over random vectors"
        made.append(judge(words, "hessian_probes", probes, exact[:RUNS, 0], *probed.T))
    return made


def _spectrum(net: Network, state: Any, position: int) -> tuple[float, float, float]:
    found = spectrum(net.hessian(state, position), np.random.default_rng(1), exact=4000)
    return (found.trace, *found.extremes)


def _probed(net: Network, state: Any, position: int, probes: int) -> tuple[float, float]:
    rng = np.random.default_rng([2, position])
    found = spectrum(net.hessian(state, position), rng, exact=0, steps=4, probes=probes)
    return found.trace, found.trace_error


@pytest.mark.slow
def test_errors_of_networks_hold() -> None:
    """300 virtual runs of 2 and of 4 replicas, and single ones by their own errors."""
    assert not [fault for row in rows() for fault in row.faults()]


def test_a_subset_that_is_common_to_all_is_seen() -> None:
    """60 runs of 4 nets that differ little: one subset for the four is refused, one for each is not."""
    small = {"name": "mlp", "widths": [6, 5], "activation": "tanh"}
    part, noise = network(SOME, 240, small)
    whole, _ = network(ALL, 240, small)
    state = part.initial_state(noise)
    state = replace(state, weights=torch.lerp(state.weights[:1], state.weights, 0.02))
    truth, own = float(whole.measure(state)["energy"].mean()), part.chosen.trained
    for subsets, held in ((own, True), ({k: own[k // 4 * 4] for k in own}, False)):
        part.chosen = part.chosen._replace(trained=subsets)
        values = part.measure(state)["energy"].reshape(60, 4)
        mean, error = values.mean(1), values.std(1, ddof=1) / 2
        assert (not judge("energy", "energy", 4, truth, mean, error).faults()) == held
