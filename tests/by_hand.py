"""What a run of a module must give, by a loop over the module itself in double precision."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from langevin.config import build, run_files
from langevin.config.settings import Settings
from langevin.core.ensemble import Ensemble
from langevin.core.noise import Noise
from langevin.core.system import Array
from langevin.sweep import simulation
from langevin.systems.networks.network import Network

RATE, MOMENTUM, DECAY = 0.05, 0.5, 0.01
#: Energies are measured at these times; gradients where waiting times begin.
TIMES, WAITING = [0, 3, 8], [0, 3]
#: Sums in double precision, in another order.
SUMS = 1e-9


def given(module: str, arguments: dict[str, Any] | None = None, **others: Any) -> dict[str, Any]:
    """Return the run file of a module, with full batches in double precision."""
    record = {
        "times": TIMES,
        "waiting_times": WAITING,
        "lags": [5],
        "snapshots": TIMES,
        "configurations": "never",
        "hessian": [TIMES[-1]],
    }
    dynamics = {
        "learning_rate": RATE,
        "momentum": MOMENTUM,
        "weight_decay": DECAY,
        "batches": "full",
        "precision": "double",
        "t_max": TIMES[-1],
    }
    made: dict[str, Any] = {
        "system": {"name": "network", "module": module, "arguments": arguments or {}},
        "data": {"name": "tiny_images:TinyImages"},
        "ensemble": {"replicas": 2, "samples": 1, "seed": 3},
        "dynamics": dynamics,
        "record": record,
        "output": {"figure": False},
    }
    for key, value in others.items():
        section, name = key.split("__")
        made[section][name] = value
    return made


def system(settings: Settings) -> Network:
    """Return the network of settings."""
    keys = settings.ensemble
    built = build.build(settings, Ensemble.regular(keys.replicas, keys.samples, keys.seed))
    assert isinstance(built, Network)
    return built


class Course(NamedTuple):
    """What a replica's module went through.

    Attributes
    ----------
    energy, test_loss : ndarray, shape (times,)
    gradient_norm : ndarray, shape (times,)
    noise : ndarray, shape (waiting times,)
        D of single examples.
    module : Module
        As it ended, in evaluation mode.
    """

    energy: Array
    test_loss: Array
    gradient_norm: Array
    noise: Array
    module: nn.Module


def whole(network: Network) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Return inputs and labels of all training and test examples."""
    train, test = network.train, network.test
    return train.gather(torch.arange(len(train))), test.gather(torch.arange(len(test)))


def course(network: Network, replica: int, modal: bool = False) -> Course:
    """Train a replica's module by torch.optim.SGD on full batches, and look at it.

    Where the modes differ (`modal`), gradients are those of training mode, as the steps have them.
    """
    module = network.built(replica)
    (x, y), (u, v) = whole(network)
    descending = trainable(module)
    step = torch.optim.SGD(descending, lr=RATE, momentum=MOMENTUM, weight_decay=DECAY)
    rows, noise = [], []
    for t in range(TIMES[-1] + 1):
        if t in TIMES:
            module.eval()
            seen, copied = losses(module, (x, y), (u, v)), in_mode(module, modal)
            rows.append((*seen, norm(gradient(copied, trainable(copied), x, y))))
            if t in WAITING:
                noise.append(gradient_noise(module, modal, x, y))
            module.train()
        if t < TIMES[-1]:
            step.zero_grad()
            F.cross_entropy(module(x.clone()), y).backward()  # type: ignore[no-untyped-call]
            step.step()
    return Course(*np.array(rows).T, np.array(noise), module.eval())


def losses(module: nn.Module, *parts: tuple[Tensor, Tensor]) -> list[float]:
    """Return the mean loss on each of several sets of examples."""
    with torch.no_grad():
        return [float(F.cross_entropy(module(x.clone()), y)) for x, y in parts]


def gradient(module: nn.Module, parameters: list[nn.Parameter], x: Tensor, y: Tensor) -> Tensor:
    """Return the gradient of the mean loss."""
    found = torch.autograd.grad(F.cross_entropy(module(x.clone()), y), parameters, materialize_grads=True)
    return torch.cat([g.reshape(-1) for g in found])


def norm(g: Tensor) -> float:
    """Return the Euclidean norm."""
    return float(torch.linalg.vector_norm(g))


def gradient_noise(module: nn.Module, training: bool, x: Tensor, y: Tensor) -> float:
    """Return the variance of single examples' gradients, per weight, each from the buffers as they are."""
    rows = []
    for k in range(len(x)):
        one = in_mode(module, training)
        rows.append(gradient(one, trainable(one), x[k : k + 1], y[k : k + 1]))
    return float(torch.stack(rows).var(dim=0, unbiased=True).mean())


def in_mode(module: nn.Module, training: bool) -> nn.Module:
    """Return a module in evaluation mode as it is; in training mode a copy, whose buffers may change."""
    return copy.deepcopy(module).train() if training else module


def trainable(module: nn.Module) -> list[nn.Parameter]:
    """Return the parameters that descend."""
    return [p for p in module.parameters() if p.requires_grad]


def hessian(module: nn.Module, x: Tensor, y: Tensor) -> NDArray[np.float64]:
    """Return the Hessian of the mean loss by central differences of the gradient."""
    parameters = [p for p in module.parameters() if p.requires_grad]
    start, step, columns = torch.cat([p.detach().reshape(-1) for p in parameters]), 1e-6, []

    def at(w: Tensor) -> Tensor:
        first = 0
        with torch.no_grad():
            for p in parameters:
                p.copy_(w[first : first + p.numel()].view(p.shape))
                first += p.numel()
        return gradient(module, parameters, x, y)

    for k in range(len(start)):
        unit = torch.zeros_like(start)
        unit[k] = step
        columns.append((at(start + unit) - at(start - unit)) / (2 * step))
    at(start)
    return torch.stack(columns).numpy()


def run(tables: dict[str, Any], path: Path) -> Path:
    """Carry out a run, and return its file."""
    return simulation.execute(run_files.load(tables), path)


def start(network: Network) -> Any:
    """Return the initial state."""
    return network.initial_state(Noise(3, network.ensemble.replica))
