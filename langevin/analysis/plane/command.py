"""A plane through stored configurations is evaluated here, from what was asked for to a dataset."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from langevin.core.system import Array
from langevin.errors import UserError
from langevin.files import provenance
from langevin.observables.landscape import planes
from langevin.observables.landscape.planes import Plane
from langevin.results import configurations
from langevin.results.kinds import has_curve
from langevin.results.open import open_result
from langevin.results.same_system import require_same_system
from langevin.speech import option

from ..shell import Output, figure
from ..shell import result as stored
from . import curve_file, random_plane, result
from .curve_file import StoredCurve
from .landscape import RunLandscape, require_same_disorder, survey
from .points import StoredPoint, Trail, position, three, trajectory
from .request import PlaneRequest
from .result import Projected


@dataclass(frozen=True)
class Subject:
    """A plane, the run in whose landscape it lies, and what is projected onto it.

    Attributes
    ----------
    owner : StoredPoint
        A configuration of the run whose system and disorder count.
    points : list of StoredPoint
        Through which it goes; none of principal components. Of a curve, control points.
    trajectories, curves : list of Trail
    explained : ndarray or None
        Of principal components.
    """

    plane: Plane
    owner: StoredPoint
    points: list[StoredPoint]
    trajectories: list[Trail]
    curves: list[Trail]
    explained: Array | None = None


def evaluate(request: PlaneRequest) -> xr.Dataset:
    """Return the plane that was asked for, as it is stored.

    Raises
    ------
    UserError
        If the files do not hold it, or do not fit together.
    Interrupted
        By Ctrl-C or another signal.
    """
    asked = subject(request)
    landscape = RunLandscape(asked.owner, request.threads)
    for point in asked.points:
        require_same_disorder(landscape, asked.owner, point, request.threads)
    about = landscape.system.attributes()
    if request.random:
        asked = replace(asked, plane=random_plane.plane(landscape, asked.owner, request))
    trails = {
        "trajectory": [Projected.onto(asked.plane, t) for t in asked.trajectories],
        "curve": [Projected.onto(asked.plane, t) for t in asked.curves],
    }
    own = asked.plane.coordinates(_own_points(asked))[0]
    # The second point lies on the axis of x.
    own[np.abs(own) <= result.ROUNDING * np.abs(own).max()] = 0.0
    x, y = _axes(asked, own, trails, request)
    across, along = (a.ravel() for a in np.meshgrid(x, y))

    def place(index: NDArray[np.int64]) -> Array:
        return asked.plane.at(across[index], along[index])

    values, moved = survey(landscape, place, x.size * y.size, _title(asked), request.progress)
    probe = place(np.array([0, x.size * y.size - 1]))
    space = result.space_of(moved, np.concatenate([landscape.constrain(p[None]) for p in probe]), probe)
    moved = np.zeros_like(moved) if space == "flat" else moved
    shape = (y.size, x.size)
    variables = result.grid_variables(
        {n: v.reshape(shape) for n, v in values.items()}, moved.reshape(shape), about
    )
    if request.random:
        variables |= random_plane.variables(x, y, asked.plane)
    else:
        variables |= _axis_variables(x, y, asked.explained)
    variables |= _points(asked, own, landscape, about)
    for kind, projected in trails.items():
        variables |= result.trail_variables(kind, projected)
    whole = result.assembled(variables, _attributes(asked, landscape, space), about)
    return random_plane.finished(whole, request) if request.random else whole


def outputs(output: Path | None) -> list[Output]:
    """Return the outputs of a plane: the result, and the figure beside it."""
    return [stored(output), figure(output.with_suffix(".png"))] if output else []


def subject(request: PlaneRequest) -> Subject:
    """Read what is asked for, and make sure that it fits together; UserError if it does not."""
    curves = [curve_file.read(path, request.replica).trail for path in request.curve]
    trails = [trajectory(path, request.replica) for path in request.trajectory]
    if request.random:
        point = random_plane.origin(request)
        # Its directions follow from the system, which nobody has built yet.
        return Subject(Plane(point.x, np.zeros((2, point.x.size))), point, [point], [], [])
    if request.principal is not None:
        return _principal(request, trails, curves)
    curve = _own_curve(request)
    if curve is not None:
        points, owner = curve.points(), curve.owner
        curves.insert(0, curve.trail)
    else:
        points = three(request.files, request.replica, request.replicas, request.time)
        owner = points[0]
    for point in points:
        _require_fit(owner, point.run.settings, point.x.size, point.said)
    _require_trails(owner, [*trails, *curves])
    try:
        plane = planes.through(np.stack([point.x for point in points]))
    except ValueError as error:
        raise UserError(f"plane through {', '.join(point.said for point in points)}: {error}") from None
    return Subject(plane, owner, points, trails, curves)


def _own_curve(request: PlaneRequest) -> StoredCurve | None:
    """Return the curve that gives the points, if the one file holds a curve."""
    if len(request.files) != 1:
        return None
    path = request.files[0]
    with open_result(path) as dataset:
        if not has_curve(dataset):
            return None
    if request.replicas is not None or request.time is not None:
        raise UserError(
            f"{path}: a curve gives its points itself; allowed without "
            f"{option('replicas')} and {option('time')}"
        )
    return curve_file.read(path, request.replica)


def _principal(request: PlaneRequest, trails: list[Trail], curves: list[Trail]) -> Subject:
    path = request.principal
    assert path is not None
    if request.files or request.replicas is not None or request.time is not None:
        raise UserError(
            f"{option('principal')}: allowed without other files, {option('replicas')} and "
            f"{option('time')}; it makes the plane alone"
        )
    trail = trajectory(path, request.replica)
    run = configurations.read(path, float(trail.at[-1]))
    owner = StoredPoint(trail.name, run, position(run.replica, request.replica, path))
    _require_trails(owner, [*trails, *curves])
    try:
        plane, explained = planes.principal(trail.x)
    except ValueError as error:
        raise UserError(f"{option('principal', path)}: {error}") from None
    return Subject(plane, owner, [], [trail, *trails], curves, explained)


def _require_trails(owner: StoredPoint, trails: list[Trail]) -> None:
    for trail in trails:
        _require_fit(owner, trail.settings, trail.x.shape[1], trail.source)


def _require_fit(owner: StoredPoint, settings: Any, dof: int, name: str) -> None:
    require_same_system(owner.run.settings, settings, (owner.said, name), (owner.x.size, dof))


def _own_points(asked: Subject) -> Array:
    """Return the points that make the plane, shape (P, dof): of principal components, the mean."""
    return np.stack([p.x for p in asked.points]) if asked.points else asked.plane.origin[None]


def _axes(
    asked: Subject, own: Array, trails: Mapping[str, list[Projected]], request: PlaneRequest
) -> tuple[Array, Array]:
    seen = [own]
    if asked.explained is not None:
        seen.append(trails["trajectory"][0].coordinates)
    if request.cover:
        seen += [p.coordinates for group in trails.values() for p in group]
    if request.random:
        one = np.linspace(-request.extent, request.extent, request.grid)
        return one, one
    every = np.concatenate(seen)
    x, y = (planes.axis(every[:, k], request.margin, request.grid) for k in range(2))
    return x, y


def _axis_variables(x: Array, y: Array, explained: Array | None) -> dict[str, result.Variable]:
    comment = "Euclidean distance in the space of configurations"
    if explained is None:
        words = ["distance along u = B − A", "distance along v, C − A less its part along u"]
    else:
        words = [f"distance along principal component {k}" for k in (1, 2)]
    variables = {
        name: result.number((name,), values, word, comment=comment)
        for name, values, word in zip("xy", (x, y), words, strict=True)
    }
    if explained is not None:
        meaning = "part of the trajectory's variance along the principal component"
        variables["explained_variance"] = result.number(("component",), explained, meaning)
        count = np.arange(1, explained.size + 1)
        variables["component"] = ("component",), count, {"long_name": "principal component"}
    return variables


def _points(
    asked: Subject, own: Array, landscape: RunLandscape, about: Mapping[str, Any]
) -> dict[str, result.Variable]:
    raw = _own_points(asked)
    parts = [landscape.values(x[None] if asked.points else landscape.constrain(x[None])) for x in raw]
    values = {name: np.array([part[name][0] for part in parts]) for name in parts[0]}
    names = [p.name for p in asked.points] or ["mean"]
    variables = result.point_variables(names, own, values, about)
    if asked.points:
        variables |= result.origin_variables(asked.points)
        sides = np.linalg.norm(raw[:, None] - raw, axis=2)
        pairs = ("point", "other_point")
        variables["point_distance"] = result.number(pairs, sides, "distance between the points")
        about = {"long_name": "point that the plane is made from"}
        variables["other_point"] = ("other_point",), np.array(names), about
    return variables


def _title(asked: Subject) -> str:
    if len(asked.points) == 1:
        return f"random directions from {asked.points[0].name}"
    if asked.points:
        return f"plane through {', '.join(point.name for point in asked.points)}"
    return f"principal components of {asked.owner.name}"


def _attributes(asked: Subject, landscape: RunLandscape, space: result.Space) -> dict[str, Any]:
    """Return the attributes of the run whose landscape it is, with the plane's own."""
    run = asked.owner.run
    ensemble = replace(landscape.ensemble, replica=landscape.ensemble.replica[:1])
    attributes: dict[str, Any] = provenance.attributes(run.settings, ensemble, landscape.system)
    attributes |= {name: value for name, value in run.attributes.items() if name.startswith("data")}
    plane = "B − A and what of C − A is orthogonal to it (Garipov et al. 2018, footnote 1), origin A"
    if not asked.points:
        plane = "first two principal components of a trajectory, origin: its mean"
    attributes |= {
        "title": f"{run.settings.title}: {_title(asked)}",
        "history": provenance.history_line("plane"),
        "plane": plane,
        "dof": asked.owner.x.size,
        "space": space,
        "projection": result.PROJECTIONS[space],
        "landscape": f"of {asked.owner.said}, sample {int(run.sample[asked.owner.position])}",
    }
    return attributes
