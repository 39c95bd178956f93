"""A system of one's own: independent particles in a double well, at any temperature."""

import numpy as np

from langevin import Model
from langevin.config.keys import Section, key


class DoubleWell(Model):
    """N particles in the potential V(x) = x⁴/4 − x²/2, a barrier of 1/4 between its minima."""

    class Parameters(Section):
        """What [system] of a run file may say."""

        n: int = key("number of particles", example=100, ge=1)

    def __init__(self, parameters, dynamics, ensemble):
        self.n, self.ensemble = parameters.n, ensemble

    def initial_configuration(self, noise):
        """Return a start in the left minimum, shape (replica, n)."""
        return np.full((len(self.ensemble.replica), self.n), -1.0)

    def force(self, x, t, noise):
        """Return −dV/dx of each particle, shape (replica, n)."""
        return x - x**3

    def energy(self, x):
        """Return the mean energy of a particle, shape (replica,)."""
        return np.mean(x**4 / 4 - x**2 / 2, axis=1)
