"""What a curve looks like along its way: energies, distances, lengths, and the barrier."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from langevin.core.ensemble import Ensemble
from langevin.core.system import Array, Model
from langevin.errors import UserError
from langevin.machine.later import later

from . import geometry
from .geometry import Kind
from .model import along
from .spaces import ConfigurationSpace

if TYPE_CHECKING:
    import xarray as xr

    from langevin.observables import statistics
    from langevin.observables.landscape import barriers
else:
    xr = later("xarray")
    barriers, statistics = (
        later(f"langevin.observables.{name}") for name in ("landscape.barriers", "statistics")
    )

#: As many as in the figures of Garipov et al. 2018.
POSITIONS = 61


class Path(Protocol):
    """What `profile` needs to know of a `Curve` or `Band`."""

    model: Model
    kind: Kind
    space: ConfigurationSpace
    start: Array
    end: Array
    dof: int

    def control(self, x: Array) -> Array:
        """Return the control points, ends included, shape (R, bends + 2, dof)."""


def barrier(energy: Array) -> tuple[Array, Array, Array]:
    """Return height, place and refinement of barriers along curves: `observables.landscape.barriers.heights`.

    Raises
    ------
    UserError
        If `energy` is not of shape (R, T) with at least three positions.
    """
    if energy.ndim != 2 or energy.shape[1] < 3:
        raise UserError(
            f"energies along a curve: shape {energy.shape}; must be (replica, at least 3 positions)"
        )
    return barriers.heights(energy)


def profile(
    curve: Path, x: Array, positions: int = POSITIONS, ensemble: Ensemble | None = None
) -> xr.Dataset:
    r"""Evaluate curves at equally spaced t.

    Parameters
    ----------
    curve : Curve or Band
    x : ndarray, shape (R, bends·dof)
        Its configuration.
    positions : int
        Number of t, at least 3, both ends among them.
    ensemble : Ensemble, optional
        Whose labels of replicas and samples the dataset carries; errors are then over samples.

    Returns
    -------
    Dataset
        With dimensions replica and position: energy, shortest_energy (along the segment, or on the sphere
        the great arc, at equal speed), distance_from_start, distance_from_end, arc_length (as a fraction),
        and for each replica barrier, barrier_position, barrier_refinement, shortest_barrier, length_ratio.
        barrier_mean and shortest_barrier_mean with their _error: over samples, or over replicas if there is
        one sample; NaN for one replica.

    Raises
    ------
    UserError
        If there are too few positions.
    """
    if positions < 3:
        raise UserError(f"positions = {positions}: must be at least 3")
    t, control = np.linspace(0, 1, positions), curve.control(x)
    path = geometry.path(curve.kind, t, control, curve.space)
    straight = curve.space.geodesic(curve.start, curve.end, t)
    straight[:, 0], straight[:, -1] = curve.start, curve.end
    energy, shortest = along(curve.model, path), along(curve.model, straight)
    rows = None if ensemble is None else geometry.Rows.of(ensemble)
    lengths = geometry.arc_lengths(curve.kind, t, control, curve.space)
    height, place, refinement = barrier(energy)
    measured: dict[str, Any] = {
        "energy": energy,
        "shortest_energy": shortest,
        "distance_from_start": _distance(path, curve.start),
        "distance_from_end": _distance(path, curve.end),
        "arc_length": lengths / lengths[:, -1:],
        "barrier": height,
        "barrier_position": place,
        "barrier_refinement": refinement,
        "shortest_barrier": barrier(shortest)[0],
        "length_ratio": geometry.length(curve.kind, control, curve.space, rows)
        / curve.space.distance(curve.start, curve.end),
    }
    return _dataset(measured, t, ensemble, curve.space)


def _distance(path: Array, end: Array) -> Array:
    """Return the root mean square distance per degree of freedom, shape (R, T)."""
    return np.sqrt(np.mean((path - end[:, None]) ** 2, axis=2))


def described(space: ConfigurationSpace) -> dict[str, str]:
    """Return the name of a profile's variable → what it is."""
    way = "the segment" if space.name == "flat" else "the great arc"
    distance = "root mean square distance per degree of freedom from the curve's"
    return {
        "energy": "energy per degree of freedom along the curve",
        "shortest_energy": f"energy per degree of freedom along {way} between the ends, at equal speed",
        "distance_from_start": f"{distance} first end",
        "distance_from_end": f"{distance} last end",
        "arc_length": "length of the curve from its first end, as a fraction of the whole",
        "barrier": "barrier per degree of freedom: highest energy along the curve minus the higher end's",
        "barrier_position": "position of the highest energy along the curve",
        "barrier_refinement": "part of the barrier that the parabola through three positions added",
        "shortest_barrier": f"barrier per degree of freedom along {way} between the ends",
        "length_ratio": f"length of the curve over that of {way}",
    }


def _dataset(
    measured: dict[str, Array], t: Array, ensemble: Ensemble | None, space: ConfigurationSpace
) -> xr.Dataset:
    names = described(space)
    replica = np.arange(len(measured["barrier"])) if ensemble is None else ensemble.replica
    ds = xr.Dataset(
        {
            name: (("replica", "position")[: values.ndim], values, {"long_name": names[name], "units": "1"})
            for name, values in measured.items()
        },
        coords={
            "replica": ("replica", replica, {"long_name": "replica label"}),
            "position": ("position", t, {"long_name": "position t along the curve", "units": "1"}),
        },
        attrs={"space": space.name},
    )
    if ensemble is not None:
        about = {"long_name": "quenched sample the replica lives in"}
        ds = ds.assign_coords(sample=("replica", ensemble.sample, about))
    for name in ("barrier", "shortest_barrier"):
        estimate = statistics.average(ds[name])
        about = {"long_name": f"{names[name]}, mean", "units": "1"}
        ds[f"{name}_mean"] = ((), float(estimate[0]), about)
        error = {"long_name": f"standard error of {name}_mean over samples or replicas", "units": "1"}
        ds[f"{name}_mean_error"] = ((), float(estimate[1]), error)
    return ds
