"""Swept dimensions and their coordinates get their names and values for the file here."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from langevin.config.keys import toml
from langevin.config.settings import Axis
from langevin.results.members import text

#: Coordinate name → dimension, values, attributes, as `xarray.Dataset` takes them.
Coordinates = dict[str, tuple[str, Any, dict[str, Any]]]


def coordinates(axes: Sequence[Axis], taken: Collection[str]) -> Coordinates:
    """Return the coordinates of a sweep; those of the dimensions have the dimension's name.

    A key is called by its last part: `temperature` for dynamics.temperature. Where that is another key's or
    in `taken`, and for `name`, what stands before it is added: `system_name`. A group has a label for every
    place along it, and a coordinate for each of its keys.

    Parameters
    ----------
    axes : sequence of Axis
    taken : collection of str
        Names of dimensions and variables that the members' files hold.
    """
    keys = [key for axis in axes for key in axis.keys]
    groups = [axis.group for axis in axes if axis.group]
    placed: Coordinates = {}
    for axis in axes:
        names = {key: _called(key, keys, {*taken, *groups}) for key in axis.keys}
        dim = next(iter(names.values()))
        if axis.group:
            dim = f"sweep_{axis.group}" if axis.group in taken else axis.group
            about = {"long_name": f"{', '.join(axis.keys)}, swept together"}
            places = _distinct([", ".join(map(_label, row)) for row in axis.rows], axis.rows)
            placed[dim] = (dim, np.array(places, dtype=object), about)
        for key, name in names.items():
            values, labels = _values(axis.values(key))
            about = {"long_name": f"swept: {key}", "sweep_key": key}
            if labels:
                about["sweep_values"] = json.dumps(labels)
            placed[name] = (dim, values, about)
    return placed


def _called(key: str, keys: Sequence[str], taken: Collection[str]) -> str:
    *_, before, last = key.split(".")
    shared = [other for other in keys if other.rpartition(".")[2] == last]
    return f"{before}_{last}" if last == "name" or last in taken or len(shared) > 1 else last


def _values(values: Sequence[Any]) -> tuple[Any, dict[str, Any]]:
    """Return what stands along a coordinate, and for labels what each of them means."""
    if all(type(v) in (int, float) and (abs(v) < 2**53 or v == float("inf")) for v in values):
        whole = all(type(v) is int for v in values)
        return np.array(values, dtype=np.int64 if whole else np.float64), {}
    labels = _distinct([_label(v) for v in values], values)
    return np.array(labels, dtype=object), dict(zip(labels, values, strict=True))


def _label(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list) and not any(isinstance(v, list | dict) for v in value):
        return ",".join(_label(v) for v in value)
    return toml(value) if isinstance(value, bool | list | dict) else text(value)


def _distinct(labels: list[str], values: Sequence[Any]) -> list[str]:
    """Return the labels; where two are the same, those that TOML would write."""
    return labels if len(set(labels)) == len(labels) else [toml(v) for v in values]
