"""Two random directions from one configuration span a plane (`langevin plane --random`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from langevin.core.capabilities import HasParts
from langevin.core.system import Array
from langevin.errors import UserError
from langevin.observables.landscape.planes import Plane
from langevin.observables.landscape.random_directions import random_direction
from langevin.results import configurations
from langevin.results.kinds import has_curve
from langevin.results.open import open_result
from langevin.speech import option

from . import result
from .landscape import RunLandscape
from .points import StoredPoint, position

if TYPE_CHECKING:
    from .request import PlaneRequest

#: Length of the step by which tangent directions are found, in units of the configuration: they are off by
#: its square, and by rounding over it.
STEP = 1e-5

#: For the file.
WORDS = {
    "filter": "of each filter the length of that filter; biases and norms rest (Li et al. 2018)",
    "layer": "of each layer's weights the length of these weights; biases and norms rest",
    "none": "the length of the configuration",
}


def origin(request: PlaneRequest) -> StoredPoint:
    """Return the configuration that the directions begin at.

    UserError if the request names none, or what no random plane has.
    """
    if len(request.files) != 1:
        raise UserError(
            f"{option('random')}: {len(request.files)} files given; allowed: one, with the configuration"
        )
    for name in ("principal", "replicas", "trajectory", "curve"):
        if getattr(request, name):
            raise UserError(
                f"{option('random')}: allowed without {option(name)}; of a trajectory random "
                f"directions show nothing ({option('principal')} does)"
            )
    path = request.files[0]
    with open_result(path) as dataset:
        if has_curve(dataset):
            raise UserError(f"{path}: holds a curve; allowed with {option('random')}: the file of a run")
    run = configurations.read(path, request.time)
    return StoredPoint(path.stem, run, position(run.replica, request.replica, path))


def plane(landscape: RunLandscape, point: StoredPoint, request: PlaneRequest) -> Plane:
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
            f"{option('normalise', request.normalise)}: allowed: none, for {name} has no layers with filters"
        )
    rng = np.random.default_rng(request.seed)
    try:
        rows = [random_direction(point.x, parts, rng, request.normalise) for _ in range(2)]
    except ValueError as error:
        raise UserError(
            f"{point.said}: {option('normalise', request.normalise)}: {error}; allowed: none"
        ) from None
    if request.normalise == "none":
        rows = [_tangent(landscape, point.x, row) for row in rows]
    return Plane(point.x.copy(), np.stack(rows))


def _tangent(landscape: RunLandscape, x: Array, direction: Array) -> Array:
    """Return a direction along the space of configurations, of the same length."""
    ends = [landscape.constrain((x + s * STEP * direction)[None])[0] for s in (1, -1)]
    if all((end == x + s * STEP * direction).all() for s, end in zip((1, -1), ends, strict=True)):
        return direction
    along = (ends[0] - ends[1]) / (2 * STEP)
    return np.asarray(along * (np.linalg.norm(direction) / np.linalg.norm(along)))


def variables(x: Array, y: Array, plane: Plane) -> dict[str, result.Variable]:
    """Return axes and directions."""
    words = "random direction δ, η from the configuration"
    return {
        "x": result.number(("x",), x, "multiple of the random direction δ"),
        "y": result.number(("y",), y, "multiple of the random direction η"),
        "direction": result.number(("axis", "dof"), plane.basis, words),
        "axis": (("axis",), np.array(["x", "y"]), {"long_name": "axis of the plane"}),
    }


def finished(dataset: xr.Dataset, request: PlaneRequest) -> xr.Dataset:
    """Return the dataset with what it says of the directions; multiples of them have no unit."""
    for name in ("x", "y", "point_x", "point_y"):
        dataset[name].attrs["units"] = "1"
    own: dict[str, Any] = {
        "plane": "w + x δ + y η along random directions, origin: the configuration w",
        "normalisation": f"{request.normalise}: each direction has {WORDS[request.normalise]}",
        "direction_seed": request.seed,
    }
    return dataset.assign_attrs(own)
