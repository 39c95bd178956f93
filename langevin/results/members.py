"""A file of a sweep is read one member after the other, each as a file of its own.

A file of a sweep has the global attribute `sweep_dimensions` and, where members differ in more than numbers:

- ``X_present(…, X)``: 1 where the member has this value of the coordinate X, such as a time;
- ``X_present(…)``: 1 where the member has the variable X at all;
- ``X_size(…)``: how much of the dimension X, which has no coordinate, is the member's;
- a variable with the attributes `attribute` and `attribute_of`: what differs in an attribute of a variable,
  or of the file itself (`attribute_of` is empty).
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Hashable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from langevin.errors import UserError
from langevin.speech import option

if TYPE_CHECKING:
    import xarray as xr

#: Global attribute that names the swept dimensions.
DIMENSIONS = "sweep_dimensions"


def sweep_dims(dataset: xr.Dataset) -> tuple[str, ...]:
    """Return the swept dimensions of a dataset, outermost first; () for a single run."""
    named = str(dataset.attrs.get(DIMENSIONS, "")).split()
    return tuple(name for name in named if name in dataset.dims)


def members(dataset: xr.Dataset) -> Iterator[tuple[dict[str, Any], xr.Dataset]]:
    """Iterate over the members of a sweep, each as the result of a single run.

    Parameters
    ----------
    dataset : Dataset
        As `langevin.open` returns it. A single run is its own only member.

    Yields
    ------
    dict
        Swept dimension → value, or label such as "7,7,7".
    Dataset
        Dimensions replica, time, waiting_time, lag: only the member's own times, replicas and variables, with
        its own attributes, so that every function of a single result serves. What is lazy stays so.
        ``attrs["status"]`` says whether the member came to its end.

    Examples
    --------
    >>> for labels, member in langevin.members(langevin.open("sweep.nc")):  # doctest: +SKIP
    ...     print(labels["temperature"], float(member["energy"][:, -1].mean()))
    """
    dims = sweep_dims(dataset)
    for variable in dataset.variables.values():
        # Read once, not once for each member: they are small.
        if {"attribute_of", "present", "size_of"} & set(variable.attrs):
            variable.load()
    for index in itertools.product(*(range(dataset.sizes[dim]) for dim in dims)):
        at = dict(zip(dims, index, strict=True))
        yield {dim: dataset[dim][i].item() for dim, i in at.items()}, _member(dataset, at)


def _member(dataset: xr.Dataset, at: dict[str, int]) -> xr.Dataset:
    if not at and DIMENSIONS not in dataset.attrs:
        return dataset
    part = dataset.isel(at)
    attributes = _own_attributes(dataset, part)
    helpers: list[Hashable] = []
    for name, variable in part.data_vars.items():
        about = variable.attrs
        if "attribute_of" in about:
            helpers.append(name)
            value: Any = variable.item()
            if value != value or value == "":
                # The member has no such attribute.
                continue
            attributes.setdefault(about["attribute_of"], {})[about["attribute"]] = _plain(value, about)
        elif "present" in about:
            helpers.append(name)
            if variable.dims and not variable.any():
                part = part.drop_dims(str(variable.dims[0]))
            elif variable.dims:
                part = part.isel({variable.dims[0]: np.flatnonzero(variable.values)})
            elif not variable:
                helpers.append(about["present"])
        elif "size_of" in about:
            helpers.append(name)
            # With times that the member has none of, all that has this dimension may be gone.
            part = part.isel({about["size_of"]: slice(0, int(variable))}, missing_dims="ignore")
    part = part.drop_vars(helpers, errors="ignore")
    del part.attrs[DIMENSIONS]
    for name, own in attributes.items():
        target = part.attrs if name == "" else part[name].attrs if name in part.variables else {}
        target.update(own)
    return _integers(part)


def _plain(value: Any, about: dict[str, Any]) -> Any:
    """Return an attribute as the member had it."""
    if about.get("json"):
        return json.loads(str(value))
    if about.get("integer"):
        return int(value)
    return value


def _integers(part: xr.Dataset) -> xr.Dataset:
    """Undo what the padding with NaN made of integers."""
    for name in [n for n, v in part.variables.items() if v.attrs.get("integer")]:
        whole = part[name].astype(np.int64)
        whole.attrs = {k: v for k, v in part[name].attrs.items() if k != "integer"}
        part[name] = whole
    return part


def _own_attributes(dataset: xr.Dataset, part: xr.Dataset) -> dict[str, dict[str, Any]]:
    """Return the title and the settings that a run file of this member alone would give."""
    try:
        given = json.loads(dataset.attrs.get("settings", "{}"))
    except json.JSONDecodeError as error:
        raise UserError(f"attribute settings of the file is not JSON: {error}") from None
    given = {k: dict(v) if isinstance(v, dict) else v for k, v in given.items() if k != "sweep"}
    titles = [str(dataset.attrs.get("title", ""))]
    for name, coordinate in part.coords.items():
        if coordinate.dims or "sweep_key" not in coordinate.attrs:
            continue
        *parents, key = coordinate.attrs["sweep_key"].split(".")
        table = given
        for parent in parents:
            table[parent] = dict(table.get(parent, {}))
            table = table[parent]
        value = coordinate.item()
        # The label of a list is not the list.
        meanings = json.loads(coordinate.attrs.get("sweep_values", "{}"))
        table[key] = meanings.get(value, value)
        titles.append(f"{name} = {text(value)}")
    return {"": {"title": ", ".join(filter(None, titles)), "settings": json.dumps(given)}}


def text(value: Any) -> str:
    """Return a swept value as messages and legends write it."""
    return f"{value:g}" if isinstance(value, float) and float(f"{value:g}") == value else str(value)


def shortened_labels(dataset: xr.Dataset, labels: dict[str, Any]) -> dict[str, Any]:
    """Return the labels of a member as figures name them: of a group its first telling key.

    That is the first of its keys that has another value at every place.

    Parameters
    ----------
    dataset : Dataset
        The sweep.
    labels : dict
        As `members` yields them.

    Returns
    -------
    dict
        Coordinate → value, such as ``rate`` → 0.1 where labels have ``annealing`` → "0.1, 8".
    """
    short: dict[str, Any] = {}
    for dim, value in labels.items():
        along = [str(n) for n, c in dataset.coords.items() if c.dims == (dim,) and "sweep_key" in c.attrs]
        places = dataset[dim].to_numpy().tolist()
        telling = next((n for n in along if len(set(dataset[n].to_numpy().tolist())) == len(places)), dim)
        short[telling] = dataset[telling].to_numpy().tolist()[places.index(value)]
    return short


def label(labels: dict[str, Any]) -> str:
    """Return the labels of a member in one line."""
    return ", ".join(f"{name} = {text(value)}" for name, value in labels.items())


def select(dataset: xr.Dataset, wanted: Sequence[str]) -> xr.Dataset:
    """Return the part of a sweep that "name=value" asks for; a single member if no dimension is left.

    Parameters
    ----------
    wanted : sequence of str
        Names are those of the swept dimensions, or of a coordinate along one of them. Blanks and the brackets
        of a list do not count.

    Raises
    ------
    UserError
        If there is no such name or no such value.
    """
    for assignment in wanted:
        name, equals, value = (part.strip() for part in assignment.partition("="))
        dims = sweep_dims(dataset)
        names = [str(n) for n, c in dataset.coords.items() if len(c.dims) == 1 and c.dims[0] in dims]
        if not names:
            raise UserError(
                f"{option('at', repr(assignment))}: the file holds no sweep, or one member is "
                "selected already"
            )
        if not equals or name not in names:
            raise UserError(
                f"{option('at', repr(assignment))}: write name=value; allowed names: {', '.join(names)}"
            )
        coordinate = dataset[name]
        places = [i for i, known in enumerate(coordinate.to_numpy().tolist()) if _same(known, value)]
        if not places:
            known = ", ".join(text(v) for v in coordinate.to_numpy().tolist())
            raise UserError(f"{option('at', repr(assignment))}: no such member; allowed: {known}")
        dim = coordinate.dims[0]
        if len(places) > 1:
            dataset = dataset.isel({dim: places})
        else:
            # The last of the dimensions goes with the rest of what belongs to the sweep.
            last = dims == (dim,)
            dataset = _member(dataset, {str(dim): places[0]}) if last else dataset.isel({dim: places[0]})
    return dataset


def _same(known: Any, asked: str) -> bool:
    if isinstance(known, str):
        return _bare(known) == _bare(asked)
    try:
        return float(asked) == float(known)
    except ValueError:
        return False


def _bare(label: str) -> str:
    return "".join(label.split()).strip("[]").replace('"', "")
