"""Curves of result files, as `langevin connect` makes them: their points, and the run they lie in."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import xarray as xr

from langevin.core.system import Array
from langevin.errors import UserError
from langevin.files import storage
from langevin.results import configurations

from .points import Point, Trail, position

#: The control points of a final curve, ends included.
CONTROL, DIMS = "control", ("replica", "control_point", "component")

#: Segments that a curve is drawn with, at least.
DRAWN = 60

#: A curve's end and the configuration that it was read from differ by rounding to single precision at most.
SAME = 1e-6


@dataclass(frozen=True)
class StoredCurve:
    """A curve of a result file.

    Attributes
    ----------
    owner : Point
        The stored configuration that it begins with, whose run's landscape it lies in.
    trail : Trail
        Points of it at equally spaced positions, ends and kinks among them: combinations of its control
        points. On a sphere they lie inside; a plane through the control points holds them, and is evaluated
        there at the curve.
    control : ndarray, shape (bends + 2, dof)
    path : Path
    replica : int
        Label of the curve.
    """

    owner: Point
    trail: Trail
    control: Array
    path: Path
    replica: int

    def points(self) -> list[Point]:
        """Return start, end and bend of a curve with one bend.

        Raises
        ------
        UserError
            If it has more bends.
        """
        bends = len(self.control) - 2
        if bends != 1:
            raise UserError(
                f"{self.path}: a curve of {bends} bends lies in no plane; needed: one bend, or three results "
                f"and --curve {self.path}"
            )
        labels = np.full(3, self.replica)
        sample = np.full(3, self.owner.run.sample[self.owner.position])
        x = self.control[[0, 2, 1]]
        run = replace(self.owner.run, path=self.path, x=x, time=np.nan, replica=labels, sample=sample)
        return [Point(name, run, k) for k, name in enumerate(("start", "end", "bend"))]


def holds_curve(dataset: xr.Dataset) -> bool:
    """Say whether a file holds a curve."""
    return CONTROL in dataset and dataset[CONTROL].dims == DIMS


def read(path: Path, replica: int) -> StoredCurve:
    """Read a curve.

    Raises
    ------
    UserError
        If the file holds none, none of this replica, one that is not finished; or if the result that it
        begins with cannot be read or is another one by now.
    """
    with storage.open_result(path) as dataset:
        if not holds_curve(dataset):
            raise UserError(f"{path}: no curve in it; `langevin connect` makes one")
        place = position(dataset["replica"], replica, path)
        control = np.asarray(dataset[CONTROL][place].to_numpy(), dtype=np.float64)
        kind = str(dataset[CONTROL].attrs.get("curve", "chain"))
        settings = configurations.settings(dataset, path)
    if not np.isfinite(control).all():
        raise UserError(f"{path}: the curve of replica {replica} is not finished")
    # A chain is drawn with its kinks.
    pieces = len(control) - 1
    at = np.linspace(0, 1, -(-DRAWN // pieces) * pieces + 1)
    owner = _owner(settings.system, path, control[0])
    trail = Trail(path.stem, str(path), at, weights(kind, at, pieces) @ control, owner.run.settings)
    return StoredCurve(owner, trail, control, path, replica)


def _owner(keys: object, path: Path, start: Array) -> Point:
    """Return the stored configuration that a curve starts from."""
    named, time = Path(str(getattr(keys, "start", ""))), float(getattr(keys, "time", np.inf))
    if not named.exists() and not named.is_absolute():
        named = path.parent / named
    run = configurations.read(named, time if np.isfinite(time) else None)
    if run.x.shape[1] == start.size:
        away = np.linalg.norm(run.x - start, axis=1)
        nearest = int(np.argmin(away))
        if away[nearest] <= SAME * np.linalg.norm(start):
            return Point(named.stem, run, nearest)
    raise UserError(f"{path}: its start is no configuration of {named}, which is another file by now")


def weights(kind: str, t: Array, pieces: int) -> Array:
    """Return the weights of the control points at positions t, shape (T, pieces + 1).

    Bernstein polynomials of a Bezier curve; hat functions of everything else, which is made of segments.
    """
    if kind == "bezier":
        k = np.arange(pieces + 1)
        binomial = np.array([math.comb(pieces, int(j)) for j in k], dtype=np.float64)
        return binomial * t[:, None] ** k * (1 - t[:, None]) ** (pieces - k)
    hats = np.eye(pieces + 1)
    return np.stack([np.interp(t, np.linspace(0, 1, pieces + 1), hat) for hat in hats], axis=1)
