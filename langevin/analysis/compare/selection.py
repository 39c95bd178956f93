"""Members of sweeps are chosen here, to stand beside other results."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import xarray as xr

from langevin.errors import UserError, shortened
from langevin.results.members import members, select, sweep_dims
from langevin.speech import option

from . import files


def selected(datasets: Sequence[xr.Dataset], at: Sequence[str]) -> list[xr.Dataset]:
    """Return the results, and of each sweep the members that are asked for.

    Parameters
    ----------
    datasets : sequence of Dataset
    at : sequence of str
        "name=value" of any sweep that has the name, or "FILE:name=value" of one. Several values of one name
        are several members; without any of its own a sweep gives all members.

    Raises
    ------
    UserError
        If no sweep has such a member.
    """
    found: list[xr.Dataset] = []
    used: set[str] = set()
    for dataset in datasets:
        if sweep_dims(dataset):
            found += _members(dataset, at, used)
        else:
            found.append(dataset)
    for assignment in at:
        if assignment not in used:
            known = ", ".join(name for d in datasets for name in _names(d)) or "none, no file is a sweep"
            said = option("at", repr(shortened(assignment)))
            raise UserError(f"{said}: no sweep has this name or file; allowed names: {known}")
    return found


def _names(dataset: xr.Dataset) -> list[str]:
    dims = sweep_dims(dataset)
    return [str(n) for n, c in dataset.coords.items() if len(c.dims) == 1 and c.dims[0] in dims]


def _members(dataset: xr.Dataset, at: Sequence[str], used: set[str]) -> Iterator[xr.Dataset]:
    """Yield the chosen members of one sweep, and note which choices it knows."""
    groups: dict[str, list[str]] = {}
    names = _names(dataset)
    for assignment in at:
        own = _of(dataset, assignment)
        name = own.partition("=")[0].strip()
        if name in names:
            groups.setdefault(name, []).append(own)
            used.add(assignment)
    for group in groups.values():
        for assignment in group:
            select(dataset, [assignment])
    for choice in itertools.product(*groups.values()):
        part = select(dataset, choice)
        for _, member in members(part):
            member.encoding["source"] = dataset.encoding.get("source", "dataset")
            yield member


def _of(dataset: xr.Dataset, assignment: str) -> str:
    """Return a choice without the file that it names, if that is this one; "" if it is another."""
    file, colon, rest = assignment.partition(":")
    if not colon or "=" in file:
        return assignment
    source = files.source(dataset)
    return rest if file in (source, Path(source).name) else ""
