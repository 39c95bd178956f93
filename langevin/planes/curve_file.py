"""Curves of result files, as planes need them."""

from __future__ import annotations

from pathlib import Path

import xarray as xr

from langevin.errors import UserError

from .points import Point, Trail


def holds_curve(dataset: xr.Dataset) -> bool:
    """Say whether a file holds a curve."""
    return "curve_start" in dataset


def points_of(path: Path, replica: int) -> list[Point]:
    """Return start, end and bend of a curve with one bend.

    Raises
    ------
    UserError
        If the file holds no such curve.
    """
    raise UserError(f"{path}: no curve in it")


def curve_of(path: Path, replica: int) -> Trail:
    """Return the points of a curve, at equally spaced positions.

    Raises
    ------
    UserError
        If the file holds none.
    """
    raise UserError(f"{path}: no curve in it")
