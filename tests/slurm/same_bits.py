"""Whether two results are equal to the bit."""

from __future__ import annotations

from pathlib import Path

import xarray as xr

#: What differs from one computation to the next: when, with which commands, how fast, on how many processors.
ASIDE = {"history", "wall_time_seconds", "commit", "threads"}


def differences(one: Path, other: Path) -> list[str]:
    """Return what differs between two results: names of variables, and of attributes of the file."""
    with xr.open_dataset(one) as a, xr.open_dataset(other) as b:
        names = {*a.variables, *b.variables} - ASIDE
        attributes = {*a.attrs, *b.attrs} - ASIDE
        return sorted(
            [f"attribute {name}" for name in attributes if repr(a.attrs.get(name)) != repr(b.attrs.get(name))]
            + [str(name) for name in names if not _equal(a, b, str(name))]
        )


def _equal(a: xr.Dataset, b: xr.Dataset, name: str) -> bool:
    if name not in a.variables or name not in b.variables:
        return False
    x, y = a.variables[name], b.variables[name]
    if (x.dims, x.shape, x.dtype) != (y.dims, y.shape, y.dtype):
        return False
    # Bytes: NaN equals itself, and −0 is not 0.
    return bool(
        (x.values == y.values).all() if x.dtype.hasobject else x.values.tobytes() == y.values.tobytes()
    )
