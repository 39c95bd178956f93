"""A landscape of the tests is a model without a start: nobody begins a run of it."""

from __future__ import annotations

from langevin.core.noise import Noise
from langevin.core.system import Array, Model


class LandscapeAlone(Model):
    def initial_configuration(self, noise: Noise) -> Array:
        raise NotImplementedError

    def energy(self, x: Array) -> Array:
        raise NotImplementedError
