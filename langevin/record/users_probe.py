"""A probe of the user's is held to what it says of itself; what goes wrong in it is said with its name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from langevin.core.probe import Probe, Run, Taken
from langevin.core.schedule import Stop
from langevin.core.system import Attributes, Coordinates
from langevin.errors import FOREIGN, LangevinError, UserError, first_line


class UsersProbe(Probe):
    """A probe that a run file names.

    Parameters
    ----------
    own : Probe
        What takes the values.
    """

    def __init__(self, own: Probe) -> None:
        super().__init__(own.name, own.times, own.keys)
        self.own, self._said = own, f"record.probes.{own.name}"

    def take(self, run: Run, stop: Stop) -> Taken:
        """Return what it takes.

        Raises
        ------
        LangevinError
            If it raises something, or returns something else than name → (dimensions, real numbers).
        """
        try:
            values: Any = self.own.take(run, stop)
        except UserError as error:
            raise UserError(f"{self._said}: {error}") from error
        except LangevinError:
            raise
        except FOREIGN as error:
            raise LangevinError(f"{self._said}: take: {first_line(error)}") from error
        if not isinstance(values, Mapping):
            raise LangevinError(f"{self._said}: take must return name → (dimensions, array)")
        return {name: self._checked(name, pair) for name, pair in values.items()}

    def _checked(self, name: Any, pair: Any) -> tuple[tuple[str, ...], NDArray[Any]]:
        """Return further dimensions and values of a variable."""
        if name not in self.own.attributes():
            raise LangevinError(f"{self._said}: take returns {name!r}, which its attributes() do not name")
        if not (isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[0], tuple)):
            raise LangevinError(f"{self._said}: {name!r} must be a tuple of dimensions and an array")
        further, values = pair[0], np.asarray(pair[1])
        known = {"replica", *self.axes, "time", "waiting_time", "lag"} & set(further)
        if known or not all(isinstance(dim, str) and dim.isidentifier() for dim in further):
            raise LangevinError(f"{self._said}: {name!r} has dimensions {further}; allowed: names of its own")
        if values.dtype.kind not in "biuf":
            raise LangevinError(f"{self._said}: {name!r} holds {values.dtype}; allowed: real numbers")
        return further, values

    def attributes(self) -> Attributes:
        """Return those of its variables."""
        return self.own.attributes()

    def coordinates(self) -> Coordinates:
        """Return those along its further dimensions."""
        return self.own.coordinates()

    def prepare(self, run: Run) -> None:
        """Make ready for a run."""
        self.own.prepare(run)

    def state_dict(self) -> dict[str, NDArray[Any]]:
        """Return its arrays."""
        return self.own.state_dict()

    def load_state(self, saved: Mapping[str, NDArray[Any]]) -> None:
        """Take its arrays."""
        self.own.load_state(saved)
