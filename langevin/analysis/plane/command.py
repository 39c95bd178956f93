"""What `langevin plane` does: read the points, evaluate the plane, write the result and its figure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from langevin import plotting
from langevin.core.system import Array
from langevin.errors import UserError
from langevin.files import provenance, storage
from langevin.observables.landscape import planes
from langevin.observables.landscape.planes import Plane
from langevin.observables.landscape.random_directions import Normalise
from langevin.results import configurations, summary

from . import curve_file, random_plane, result
from .curve_file import StoredCurve
from .landscape import Landscape, require_same_disorder, survey
from .points import Point, Trail, position, require_same_system, three, trajectory
from .result import Projected


@dataclass(frozen=True)
class Request:
    """What was asked for; the options of `langevin plane`, by their names."""

    files: tuple[Path, ...] = ()
    principal: Path | None = None
    replica: int = 0
    replicas: str | None = None
    time: float | None = None
    trajectories: tuple[Path, ...] = ()
    curves: tuple[Path, ...] = ()
    grid: int = 21
    margin: float = 0.2
    cover: bool = False
    output: Path = Path("plane.nc")
    force: bool = False
    random: bool = False
    normalise: Normalise = "filter"
    seed: int = 0
    extent: float = 1.0
    threads: int | None = None
    quiet: bool = False


@dataclass(frozen=True)
class Subject:
    """A plane, the run in whose landscape it lies, and what is projected onto it.

    Attributes
    ----------
    plane : Plane
    owner : Point
        A configuration of the run whose system and disorder count.
    points : list of Point
        Through which it goes; none of principal components. Of a curve, control points.
    trajectories, curves : list of Trail
    explained : ndarray or None
        Of principal components.
    """

    plane: Plane
    owner: Point
    points: list[Point]
    trajectories: list[Trail]
    curves: list[Trail]
    explained: Array | None = None


def carry_out(request: Request) -> str:
    """Evaluate a plane, write the file and the figure.

    Returns
    -------
    str
        Summary and paths, a line each; nothing if it is to be quiet.

    Raises
    ------
    UserError
        Before anything is written.
    Interrupted
        By Ctrl-C or another signal; nothing is then written.
    """
    figure = request.output.with_suffix(".png")
    _check_output(request, figure)
    found = subject(request)
    with evaluated(found, request) as dataset:
        storage.write_result(dataset, request.output)
        plotting.save(dataset, figure)
        if request.quiet:
            return ""
        return f"{summary.results(dataset)}\nresult  {request.output}\nfigure  {figure}\n"


def _check_output(request: Request, figure: Path) -> None:
    path = request.output
    if not path.parent.is_dir():
        raise UserError(f"--output {path}: there is no folder {path.parent}")
    if path.suffix != ".nc":
        raise UserError(f"--output {path}: must end in .nc")
    if not math.isfinite(request.margin):
        raise UserError(f"--margin {request.margin:g}: must be a finite number ≥ 0")
    given = [*request.files, *request.trajectories, *request.curves]
    given += [request.principal] if request.principal else []
    if path.resolve() in {other.resolve() for other in given}:
        raise UserError(f"--output {path}: it is one of the files to read")
    for there in (path, figure):
        if there.is_dir():
            raise UserError(f"--output {there}: it is a folder")
        if there.exists() and not request.force:
            raise UserError(f"{there} exists; overwrite it with --force, or give another --output")


def subject(request: Request) -> Subject:
    """Read what is asked for, and make sure that it fits together.

    Raises
    ------
    UserError
        If it does not.
    """
    curves = [curve_file.read(path, request.replica).trail for path in request.curves]
    trails = [trajectory(path, request.replica) for path in request.trajectories]
    if request.random:
        return _random(request)
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


def _own_curve(request: Request) -> StoredCurve | None:
    """Return the curve that gives the points, if the one file holds a curve."""
    if len(request.files) != 1:
        return None
    path = request.files[0]
    with storage.open_result(path) as dataset:
        if not curve_file.holds_curve(dataset):
            return None
    if request.replicas is not None or request.time is not None:
        raise UserError(f"{path}: a curve gives its points itself; allowed without --replicas and --time")
    return curve_file.read(path, request.replica)


def _random(request: Request) -> Subject:
    point = random_plane.origin(request)
    # Its directions follow from the system, which nobody has built yet.
    return Subject(Plane(point.x, np.zeros((2, point.x.size))), point, [point], [], [])


def _principal(request: Request, trails: list[Trail], curves: list[Trail]) -> Subject:
    path = request.principal
    assert path is not None
    if request.files or request.replicas is not None or request.time is not None:
        raise UserError("--principal: allowed without FILES, --replicas and --time; it makes the plane alone")
    trail = trajectory(path, request.replica)
    run = configurations.read(path, float(trail.at[-1]))
    owner = Point(trail.name, run, position(run.replica, request.replica, path))
    _require_trails(owner, [*trails, *curves])
    try:
        plane, explained = planes.principal(trail.x)
    except ValueError as error:
        raise UserError(f"--principal {path}: {error}") from None
    return Subject(plane, owner, [], [trail, *trails], curves, explained)


def _require_trails(owner: Point, trails: list[Trail]) -> None:
    for trail in trails:
        _require_fit(owner, trail.settings, trail.x.shape[1], trail.source)


def _require_fit(owner: Point, settings: Any, dof: int, name: str) -> None:
    require_same_system(owner.run.settings, owner.x.size, settings, dof, (owner.said, name))


def evaluated(found: Subject, request: Request) -> xr.Dataset:
    """Evaluate the landscape on the grid and at the points, and return the result as it is stored."""
    landscape = Landscape(found.owner, request.threads)
    for point in found.points:
        require_same_disorder(landscape, found.owner, point, request.threads)
    about = landscape.system.attributes()
    if request.random:
        found = replace(found, plane=random_plane.plane(landscape, found.owner, request))
    trails = {
        "trajectory": [Projected.onto(found.plane, t) for t in found.trajectories],
        "curve": [Projected.onto(found.plane, t) for t in found.curves],
    }
    own = found.plane.coordinates(_own_points(found))[0]
    # The second point lies on the axis of x.
    own[np.abs(own) <= result.ROUNDING * np.abs(own).max()] = 0.0
    x, y = _axes(found, own, trails, request)
    across, along = (a.ravel() for a in np.meshgrid(x, y))

    def place(index: NDArray[np.int64]) -> Array:
        return found.plane.at(across[index], along[index])

    values, moved = survey(landscape, place, x.size * y.size, _title(found), not request.quiet)
    probe = place(np.array([0, x.size * y.size - 1]))
    space = result.space_of(moved, np.concatenate([landscape.constrain(p[None]) for p in probe]), probe)
    moved = np.zeros_like(moved) if space == "flat" else moved
    shape = (y.size, x.size)
    variables = result.grid_variables(
        {n: v.reshape(shape) for n, v in values.items()}, moved.reshape(shape), about
    )
    if request.random:
        variables |= random_plane.variables(x, y, found.plane)
    else:
        variables |= _axis_variables(x, y, found.explained)
    variables |= _points(found, own, landscape, about)
    for kind, projected in trails.items():
        variables |= result.trail_variables(kind, projected)
    attributes = _attributes(found, landscape, space)
    if request.random:
        return random_plane.finished(result.assembled(variables, attributes, about), request)
    return result.assembled(variables, attributes, about)


def _own_points(found: Subject) -> Array:
    """Return the points that make the plane, shape (P, dof): of principal components, the mean."""
    return np.stack([p.x for p in found.points]) if found.points else found.plane.origin[None]


def _axes(
    found: Subject, own: Array, trails: Mapping[str, list[Projected]], request: Request
) -> tuple[Array, Array]:
    seen = [own]
    if found.explained is not None:
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
    unit = {"units": "1", "comment": "Euclidean distance in the space of configurations"}
    if explained is None:
        words = ["distance along u = B − A", "distance along v, C − A less its part along u"]
    else:
        words = [f"distance along principal component {k}" for k in (1, 2)]
    made: dict[str, result.Variable] = {
        name: ((name,), values, {"long_name": word, **unit})
        for name, values, word in zip("xy", (x, y), words, strict=True)
    }
    if explained is not None:
        name = "part of the trajectory's variance along the principal component"
        made["explained_variance"] = ("component",), explained, {"long_name": name, "units": "1"}
        count = np.arange(1, explained.size + 1)
        made["component"] = ("component",), count, {"long_name": "principal component"}
    return made


def _points(
    found: Subject, own: Array, landscape: Landscape, about: Mapping[str, Any]
) -> dict[str, result.Variable]:
    raw = _own_points(found)
    parts = [landscape.values(x[None] if found.points else landscape.constrain(x[None])) for x in raw]
    values = {name: np.array([part[name][0] for part in parts]) for name in parts[0]}
    names = [p.name for p in found.points] or ["mean"]
    made = result.point_variables(names, own, values, about)
    if found.points:
        made |= result.origin_variables(found.points)
        sides = np.linalg.norm(raw[:, None] - raw, axis=2)
        words = {"long_name": "distance between the points", "units": "1"}
        made["point_distance"] = ("point", "other_point"), sides, words
        about = {"long_name": "point that the plane is made from"}
        made["other_point"] = ("other_point",), np.array(names), about
    return made


def _title(found: Subject) -> str:
    if len(found.points) == 1:
        return f"random directions from {found.points[0].name}"
    if found.points:
        return f"plane through {', '.join(point.name for point in found.points)}"
    return f"principal components of {found.owner.name}"


def _attributes(found: Subject, landscape: Landscape, space: result.Space) -> dict[str, Any]:
    """Return the attributes of the run whose landscape it is, with the plane's own."""
    run = found.owner.run
    ensemble = replace(landscape.ensemble, replica=landscape.ensemble.replica[:1])
    made: dict[str, Any] = provenance.attributes(run.settings, ensemble, landscape.system)
    made |= {name: value for name, value in run.attributes.items() if name.startswith("data")}
    title = _title(found)
    plane = "B − A and what of C − A is orthogonal to it (Garipov et al. 2018, footnote 1), origin A"
    if not found.points:
        plane = "first two principal components of a trajectory, origin: its mean"
    made |= {
        "title": f"{run.settings.title}: {title}",
        "history": provenance.history_line("plane"),
        "plane": plane,
        "dof": found.owner.x.size,
        "space": space,
        "projection": result.PROJECTIONS[space],
        "landscape": f"of {found.owner.said}, sample {int(run.sample[found.owner.position])}",
    }
    return made
