"""Curves of result files, as `langevin connect` makes them, have points, and a run they lie in."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from langevin.core.system import Array
from langevin.errors import UserError
from langevin.results import configurations
from langevin.results.curves import weights
from langevin.results.kinds import has_curve
from langevin.results.open import open_result
from langevin.speech import command, option

from .points import StoredPoint, Trail, position

#: Segments that a curve is drawn with, at least.
DRAWN = 60

#: A curve's end and the configuration that it was read from differ by rounding to single precision at most.
SAME = 1e-6


@dataclass(frozen=True)
class StoredCurve:
    """A curve of a result file.

    Attributes
    ----------
    owner : StoredPoint
        The stored configuration that it begins with, whose run's landscape it lies in.
    trail : Trail
        Points of it at equally spaced positions, ends and kinks among them: combinations of its control
        points. On a sphere they lie inside; a plane through the control points holds them, and is evaluated
        there at the curve.
    control : ndarray, shape (bends + 2, dof)
    replica : int
        Label of the curve.
    """

    owner: StoredPoint
    trail: Trail
    control: Array
    path: Path
    replica: int

    def points(self) -> list[StoredPoint]:
        """Return start, end and bend of a curve with one bend; UserError if it has more bends."""
        bends = len(self.control) - 2
        if bends != 1:
            raise UserError(
                f"{self.path}: a curve of {bends} bends lies in no plane; needed: one bend, or three results "
                f"and {option('curve', self.path)}"
            )
        labels = np.full(3, self.replica)
        sample = np.full(3, self.owner.run.sample[self.owner.position])
        x = self.control[[0, 2, 1]]
        run = replace(self.owner.run, path=self.path, x=x, time=np.nan, replica=labels, sample=sample)
        return [StoredPoint(name, run, k) for k, name in enumerate(("start", "end", "bend"))]


def read(path: Path, replica: int) -> StoredCurve:
    """Read a curve.

    Raises
    ------
    UserError
        If the file holds none, none of this replica, one that is not finished; or if the result that it
        begins with cannot be read or is another one by now.
    """
    with open_result(path) as dataset:
        if not has_curve(dataset):
            raise UserError(f"{path}: no curve in it; {command('connect')} makes one")
        place = position(dataset["replica"], replica, path)
        control = np.asarray(dataset["control"][place].to_numpy(), dtype=np.float64)
        kind = str(dataset["control"].attrs.get("curve", "chain"))
        settings = configurations.settings(dataset, path)
    if not np.isfinite(control).all():
        raise UserError(f"{path}: the curve of replica {replica} is not finished")
    # A chain is drawn with its kinks.
    pieces = len(control) - 1
    at = np.linspace(0, 1, -(-DRAWN // pieces) * pieces + 1)
    owner = _owner(settings.system, path, control[0])
    trail = Trail(path.stem, str(path), at, weights(kind, at, pieces - 1) @ control, owner.run.settings)
    return StoredCurve(owner, trail, control, path, replica)


def _owner(keys: object, path: Path, start: Array) -> StoredPoint:
    """Return the stored configuration that a curve starts from."""
    named, time = Path(str(getattr(keys, "start", ""))), float(getattr(keys, "time", np.inf))
    if not named.exists() and not named.is_absolute():
        named = path.parent / named
    member = int(getattr(keys, "member", -1))
    run = configurations.read(named, time if np.isfinite(time) else None, None if member < 0 else member)
    if run.x.shape[1] == start.size:
        away = np.linalg.norm(run.x - start, axis=1)
        nearest = int(np.argmin(away))
        if away[nearest] <= SAME * np.linalg.norm(start):
            return StoredPoint(named.stem, run, nearest)
    raise UserError(f"{path}: its start is no configuration of {named}, which is another file by now")
