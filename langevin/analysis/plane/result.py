"""A plane is stored as energies on a grid, with what is projected onto it (plane.nc)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import xarray as xr

from langevin.core.system import Array
from langevin.observables.landscape.planes import Plane

from .points import StoredPoint, Trail

Variable = tuple[tuple[str, ...], Any, dict[str, Any]]


def number(dims: tuple[str, ...], values: Any, meaning: str, **about: Any) -> Variable:
    """Return a variable without a unit."""
    return dims, values, {"long_name": meaning, "units": "1", **about}


#: Part of the distance from the plane's origin below which the constraint moved a point by rounding alone.
ROUNDING = 1e-12

Space: TypeAlias = Literal["flat", "sphere", "constrained"]

#: How points of a plane become configurations.
PROJECTIONS: dict[Space, str] = {
    "flat": "none: points of the plane are configurations",
    "sphere": "each point P of the plane is evaluated at P √M/|P|, on the sphere |x|² = M (M: dof)",
    "constrained": "each point of the plane is evaluated at its projection by the constraint of the system",
}

#: What trails are called in the file → what runs along them.
ALONG = {"trajectory": "trajectory_time", "curve": "curve_position"}


@dataclass(frozen=True)
class Projected:
    """A trail on a plane: coordinates, shape (T, 2), distances from the plane, and from its origin, (T,)."""

    trail: Trail
    coordinates: Array
    residual: Array
    distance: Array

    @classmethod
    def onto(cls, plane: Plane, trail: Trail) -> Projected:
        """Project every configuration of a trail."""
        coordinates, residual = plane.coordinates(trail.x)
        return cls(trail, coordinates, residual, np.hypot(np.linalg.norm(coordinates, axis=1), residual))

    @property
    def explained(self) -> float:
        """Part of the variance of the trail, about its mean, that its projection has; NaN if it rests."""
        total = float(np.sum((self.trail.x - self.trail.x.mean(axis=0)) ** 2))
        seen = float(np.sum((self.coordinates - self.coordinates.mean(axis=0)) ** 2))
        return seen / total if total > 0 else np.nan


def grid_variables(
    values: Mapping[str, Array], moved: Array, about: Mapping[str, Any]
) -> dict[str, Variable]:
    """Return the variables on the grid: `values` and `moved` of shape (y, x)."""
    variables: dict[str, Variable] = {
        name: (("y", "x"), value, described(name, about)) for name, value in values.items()
    }
    if moved.any():
        words = "distance between the point of the plane and its projection onto the space of configurations"
        variables["projection_distance"] = number(("y", "x"), moved, words)
    return variables


def described(name: str, about: Mapping[str, Any]) -> dict[str, Any]:
    """Return the attributes of a quantity that the system evaluates."""
    plain = {"long_name": name.replace("_", " "), "units": "1"}
    return {**plain, **about.get(name, {}), **about.get("evaluated", {})}


def point_variables(
    names: Sequence[str], at: Array, values: Mapping[str, Array], about: Mapping[str, Any]
) -> dict[str, Variable]:
    """Return coordinates, shape (P, 2), and values, shape (P,), of the points that make the plane."""
    long = {"long_name": "point that the plane is made from"}
    variables: dict[str, Variable] = {"point": (("point",), np.array(names), long)}
    for k, axis in enumerate("xy"):
        variables[f"point_{axis}"] = number(("point",), at[:, k], f"{axis} of the point")
    for name, value in values.items():
        attributes = described(name, about)
        attributes["long_name"] = f"{attributes['long_name']}, at the point itself"
        variables[f"point_{name}"] = ("point",), value, attributes
    return variables


def origin_variables(points: Sequence[StoredPoint]) -> dict[str, Variable]:
    """Return where the points come from: file, replica, time."""
    dims, files = ("point",), np.array([str(p.run.path) for p in points])
    return {
        "point_source": (dims, files, {"long_name": "file of the point"}),
        "point_replica": (dims, np.array([p.replica for p in points]), {"long_name": "label of its replica"}),
        "point_time": number(dims, np.array([p.run.time for p in points]), "time of the configuration"),
    }


def trail_variables(kind: str, trails: Sequence[Projected]) -> dict[str, Variable]:
    """Return coordinates of trails of a kind, "trajectory" or "curve", and what projecting them loses.

    NaN where a trail has no configuration at a time that another one has.
    """
    if not trails:
        return {}
    along = ALONG[kind]
    every = np.unique(np.concatenate([p.trail.at for p in trails]))
    names = [p.trail.name for p in trails]
    names = names if len(set(names)) == len(names) else [p.trail.source for p in trails]
    if len(set(names)) < len(names):
        names = [f"{name} ({k})" for k, name in enumerate(names, 1)]
    columns = np.full((4, len(trails), every.size), np.nan)
    for k, projected in enumerate(trails):
        squared = projected.distance**2
        lost = np.divide(projected.residual**2, squared, out=np.zeros_like(squared), where=squared > 0)
        rows = [*projected.coordinates.T, projected.residual, lost]
        columns[:, k, np.searchsorted(every, projected.trail.at)] = rows
    words = {
        "x": f"x of the {kind}, projected orthogonally onto the plane",
        "y": f"y of the {kind}, projected orthogonally onto the plane",
        "residual": f"distance of the {kind} from the plane, lost by projecting",
        "lost": "part of the squared distance from the plane's origin that projecting loses",
    }
    remark = (
        {"comment": "of the combination of control points, not yet constrained"} if kind == "curve" else {}
    )
    variables = {
        f"{kind}_{name}": number((kind, along), column, words[name], **remark)
        for name, column in zip(words, columns, strict=True)
    }
    explained = np.array([p.explained for p in trails])
    meaning = f"part of the variance of the {kind} that lies in the plane"
    variables[f"{kind}_explained"] = number((kind,), explained, meaning)
    variables[kind] = (kind,), np.array(names), {"long_name": f"name of the {kind}"}
    sources = np.array([p.trail.source for p in trails])
    variables[f"{kind}_source"] = (kind,), sources, {"long_name": f"file of the {kind}"}
    meaning = "time of the configuration" if kind == "trajectory" else "position along the curve, from 0 to 1"
    variables[along] = number((along,), every, meaning)
    return variables


def space_of(moved: Array, x: Array, raw: Array) -> Space:
    """Say where configurations live, from what the constraint makes of points of a plane.

    Parameters
    ----------
    moved : ndarray, shape (P,)
        Distances by which it moved the points of the grid.
    x, raw : ndarray, shape (n, dof)
        Some of them after and before.
    """
    scale = float(np.linalg.norm(raw, axis=1).max())
    if (moved <= ROUNDING * scale).all():
        return "flat"
    dof = x.shape[1]
    factor = np.sqrt(dof) / np.linalg.norm(raw, axis=1)
    return "sphere" if np.allclose(factor[:, None] * raw, x, rtol=1e-9, atol=1e-9) else "constrained"


#: Endings of the names of distances, and of times.
DISTANCES, TIMES = ("_x", "_y", "_residual", "_distance"), ("_time",)


def assembled(
    variables: Mapping[str, Variable], attributes: Mapping[str, Any], about: Mapping[str, Any]
) -> xr.Dataset:
    """Return the dataset; one-dimensional labels and sources are its coordinates.

    Distances and times have the units that the system gives its configuration and its time.
    """
    dataset = xr.Dataset(dict(variables), attrs=dict(attributes))
    for endings, of in ((DISTANCES, "configuration"), (TIMES, "time")):
        unit = about.get(of, {}).get("units", "1")
        for name in dataset.variables:
            if f"_{name}".endswith(endings):
                dataset[name].attrs["units"] = unit
    labels = [name for name in dataset.data_vars if str(name).endswith(("_source", "_replica", "_time"))]
    return dataset.set_coords(labels)
