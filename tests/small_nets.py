"""Networks and data whose training is known in closed form, for the tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor, arange, nn

from langevin.config import build, run_files
from langevin.config.settings import Settings
from langevin.core.ensemble import Ensemble
from langevin.core.noise import Noise
from langevin.core.system import DataSet
from langevin.systems.networks.architectures.small import UserNetwork
from langevin.systems.networks.data.base import Data, DataKeys, Examples
from langevin.systems.networks.network import Network

#: Inputs and labels of `Line`, few enough to sum over.
X = np.array([0.3, -1.1, 0.8, 1.7, -0.4, 0.9, -1.5, 0.2], dtype=np.float32)
Y = np.array([0, 1, 1, 0, 1, 0, 0, 1])


class Line(DataSet):
    """Eight points on a line, in two classes."""

    class Parameters(DataKeys):
        """Nothing of its own."""

    def __init__(self, parameters: Any) -> None:
        self.parameters = parameters

    def load(self, ensemble: Ensemble) -> Data:
        """Return the points."""
        points = Examples(X[:, None], Y.astype(np.int64))
        rows = {int(s): np.arange(X.size) for s in np.unique(ensemble.sample)}
        one = np.ones(1, np.float32)
        return Data("line", points, points, 2, one, 0 * one, rows, rows)


def linear() -> nn.Module:
    """One weight for each of two outputs, no bias."""
    return nn.Linear(1, 2, bias=False)


class Normalised(nn.Module):
    """A small net with batch-norm."""

    def __init__(self, shape: tuple[int, ...], classes: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(),
            nn.Linear(int(np.prod(shape)), 5),
            nn.BatchNorm1d(5),
            nn.ReLU(),
            nn.Linear(5, classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs."""
        found: Tensor = self.layers(x)
        return found


class Scattering(nn.Module):
    """A net that adds to numbers of single precision what must be of single precision, too."""

    def __init__(self, shape: tuple[int, ...], classes: int) -> None:
        super().__init__()
        self.hidden, self.last = nn.Linear(int(np.prod(shape)), 4), nn.Linear(4, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs."""
        hidden = self.hidden(x.flatten(1))
        turned = arange(4, device=x.device).flip(0).expand(len(x), 4)
        found: Tensor = self.last(x.new_zeros(len(x), 4).scatter_add(1, turned, hidden))
        return found


def dropping(shape: Sequence[int], classes: int) -> nn.Module:
    """A net with something random inside."""
    return nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(int(np.prod(shape)), classes))


def settings(
    system: dict[str, Any],
    data: dict[str, Any] | None = None,
    replicas: int = 3,
    samples: int = 1,
    record: dict[str, Any] | None = None,
    **dynamics: Any,
) -> Settings:
    """Return settings of a small network run."""
    given = {
        "system": system,
        "data": {"name": "synthetic", "train": 64, "test": 32} if data is None else data,
        "dynamics": {"t_max": 40, "batch_size": 8, "device": "cpu", **dynamics},
        "ensemble": {"replicas": replicas, "samples": samples, "seed": 3},
        "record": {"energy_examples": 40, "gradient_examples": 40, **(record or {})},
        "output": {"figure": False},
    }
    return run_files.load(given)


def built(made: Settings, threads: int = 2) -> tuple[Network, Noise]:
    """Return the system of settings, and its noise."""
    keys = made.ensemble
    ensemble = Ensemble.regular(keys.replicas, keys.samples, keys.seed, threads)
    system = build.build(made, ensemble)
    assert isinstance(system, Network)
    return system, Noise(keys.seed, ensemble.replica)


def on_a_line(replicas: int = 3, **dynamics: Any) -> tuple[Network, Noise]:
    """Return the linear net on `Line`, squared error, double precision."""
    keys = {"precision": "double", "batch_size": 2, **dynamics}
    system = {"name": "network", "module": "small_nets:linear", "loss": "mse_loss"}
    made = settings(system, {"name": "small_nets:Line"}, replicas, **keys)
    assert made.system_class is UserNetwork
    return built(made)
