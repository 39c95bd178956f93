"""Planes along two random directions from one configuration (`langevin plane --random`)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from langevin.core.capabilities import HasParts
from langevin.core.system import Array
from langevin.errors import UserError
from langevin.files import storage
from langevin.observables.landscape.planes import Plane
from langevin.observables.landscape.random_directions import random_direction
from langevin.results import configurations

from . import curve_file, result
from .landscape import Landscape
from .points import Point, position

if TYPE_CHECKING:
    from .command import Request

#: Length of the step by which tangent directions are found, in units of the configuration: they are off by
#: its square, and by rounding over it.
STEP = 1e-5

#: For the file.
WORDS = {
    "filter": "of each filter the length of that filter; biases and norms rest (Li et al. 2018)",
    "layer": "of each layer's weights the length of these weights; biases and norms rest",
    "none": "the length of the configuration",
}


def origin(request: Request) -> Point:
    """Return the configuration that the directions begin at.

    Raises
    ------
    UserError
        If the request names none, or what no random plane has.
    """
    if len(request.files) != 1:
        raise UserError(f"--random: {len(request.files)} files given; allowed: one, with the configuration")
    for name in ("principal", "replicas", "trajectories", "curves"):
        if getattr(request, name):
            option = {"trajectories": "trajectory", "curves": "curve"}.get(name, name)
            raise UserError(
                f"--random: allowed without --{option}; of a trajectory random directions show nothing "
                "(--principal does)"
            )
    if not math.isfinite(request.extent):
        raise UserError(f"--extent {request.extent:g}: must be a finite number > 0")
    path = request.files[0]
    with storage.open_result(path) as dataset:
        if curve_file.holds_curve(dataset):
            raise UserError(f"{path}: holds a curve; allowed with --random: the file of a run")
    run = configurations.read(path, request.time)
    return Point(path.stem, run, position(run.replica, request.replica, path))


def plane(landscape: Landscape, point: Point, request: Request) -> Plane:
    """Return the plane w + x δ + y η. Its basis is not orthonormal: lengths are those of the configuration.

    Where there is a constraint, the directions are tangent to it.

    Raises
    ------
    UserError
        If the system has no filters, or they are all zero.
    """
    parts = landscape.system.parts() if isinstance(landscape.system, HasParts) else ()
    if request.normalise != "none" and not parts:
        name = point.run.settings.system_name
        raise UserError(
            f"--normalise {request.normalise}: allowed: none, for {name} has no layers with filters"
        )
    rng = np.random.default_rng(request.seed)
    try:
        rows = [random_direction(point.x, parts, rng, request.normalise) for _ in range(2)]
    except ValueError as error:
        raise UserError(f"{point.said}: --normalise {request.normalise}: {error}; allowed: none") from None
    if request.normalise == "none":
        rows = [_tangent(landscape, point.x, row) for row in rows]
    return Plane(point.x.copy(), np.stack(rows))


def _tangent(landscape: Landscape, x: Array, direction: Array) -> Array:
    """Return a direction along the space of configurations, of the same length."""
    ends = [landscape.constrain((x + s * STEP * direction)[None])[0] for s in (1, -1)]
    if all((end == x + s * STEP * direction).all() for s, end in zip((1, -1), ends, strict=True)):
        return direction
    along = (ends[0] - ends[1]) / (2 * STEP)
    return np.asarray(along * (np.linalg.norm(direction) / np.linalg.norm(along)))


def variables(x: Array, y: Array, found: Plane) -> dict[str, result.Variable]:
    """Return axes and directions."""
    made: dict[str, result.Variable] = {
        name: ((name,), values, {"long_name": f"multiple of the random direction {sign}", "units": "1"})
        for name, values, sign in zip("xy", (x, y), "δη", strict=True)
    }
    about = {"long_name": "random direction δ, η from the configuration", "units": "1"}
    made["direction"] = (("axis", "dof"), found.basis, about)
    made["axis"] = (("axis",), np.array(["x", "y"]), {"long_name": "axis of the plane"})
    return made


def finished(dataset: xr.Dataset, request: Request) -> xr.Dataset:
    """Return the dataset with what it says of the directions; multiples of them have no unit."""
    for name in ("x", "y", "point_x", "point_y"):
        dataset[name].attrs["units"] = "1"
    own: dict[str, Any] = {
        "plane": "w + x δ + y η along random directions, origin: the configuration w",
        "normalisation": f"{request.normalise}: each direction has {WORDS[request.normalise]}",
        "direction_seed": request.seed,
    }
    return dataset.assign_attrs(own)
