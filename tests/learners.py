"""A system that learns from data, as small as can be: logistic regression, by gradient descent."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

import numpy as np

from langevin.config.keys import Section
from langevin.config.sections import LangevinDynamics
from langevin.core.capabilities import ChecksSettings, LearnsFromData
from langevin.core.ensemble import Ensemble
from langevin.core.noise import Noise
from langevin.core.system import Array, Model
from langevin.systems.networks.data.base import Data


class Linear(Model, ChecksSettings, LearnsFromData):
    """Logistic regression on the examples of each replica's sample."""

    data: ClassVar[str] = "synthetic"

    class Parameters(Section):
        """Nothing to choose."""

    def __init__(self, parameters: Any, dynamics: LangevinDynamics, ensemble: Ensemble, data: Data) -> None:
        self.ensemble, self.data = ensemble, data
        self.shape = (int(np.prod(data.train.inputs.shape[1:])), data.classes)

    @classmethod
    def check(cls, settings: Any) -> Iterable[str]:
        return ()

    def initial_configuration(self, noise: Noise) -> Array:
        return np.zeros((self.ensemble.size, self.shape[0] * self.shape[1]))

    def _each(self, x: Array) -> Any:
        """Yield the inputs, the labels and the logits of every replica's training examples."""
        for weights, sample in zip(x, self.ensemble.sample, strict=True):
            rows = self.data.rows[int(sample)]
            inputs = self.data.scaled(self.data.train.inputs[rows]).reshape(len(rows), -1).astype(float)
            logits = inputs @ weights.reshape(self.shape)
            yield inputs, self.data.train.labels[rows], logits - logits.max(axis=1, keepdims=True)

    def force(self, x: Array, t: float, noise: Noise | None) -> Array:
        forces = []
        for inputs, labels, logits in self._each(x):
            share = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
            forces.append((inputs.T @ (np.eye(self.shape[1])[labels] - share)).ravel() / len(labels))
        return np.array(forces)

    def energy(self, x: Array) -> Array:
        losses = [
            np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(labels)), labels]
            for _, labels, logits in self._each(x)
        ]
        return np.mean(losses, axis=1)


class Undecided(Linear):
    """Wants a data set that there is not."""

    data = "no such data"
