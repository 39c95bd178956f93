"""Where Dask is installed, xarray loads all of it to make the first array: a third of a second.

It asks whether the array is one of Dask's. Before Dask is loaded there is none of that kind. So until then
xarray is told that there is no such type, and what it asks for afterwards is what it was.
"""

from __future__ import annotations

import sys
from typing import Any

from xarray.namedarray import pycompat, utils

#: Where xarray keeps what it has learned of libraries of arrays, by their names.
_KNOWN: dict[Any, Any] = getattr(pycompat, "_cached_duck_array_modules", {})


class _NotYet:
    """What xarray knows of Dask while nothing of it is loaded."""

    type: Any = ()

    def __getattr__(self, name: str) -> Any:
        # Its version, or whether it is there: xarray's own answer, from now on.
        return getattr(_loaded(), name)


class _Known(dict[Any, Any]):
    """Asks anew about Dask when it has been loaded."""

    def __getitem__(self, name: Any) -> Any:
        known = super().__getitem__(name)
        if isinstance(known, _NotYet) and "dask.array" in sys.modules:
            return _loaded()
        return known


def _loaded() -> Any:
    pycompat._cached_duck_array_modules["dask"] = module = pycompat.DuckArrayModule("dask")
    return module


_is_collection: Any = getattr(utils, "is_dask_collection", None)


def _is_dask_collection(x: object) -> Any:
    return "dask.base" in sys.modules and _is_collection(x)


def install() -> None:
    """Let xarray wait for Dask, if this one asks as the tested ones do and has not done so."""
    if "dask" in sys.modules or "dask" in _KNOWN or not utils.module_available("dask"):
        return
    names = ("_cached_duck_array_modules", "DuckArrayModule")
    if all(hasattr(pycompat, name) for name in names) and _is_collection is not None:
        setattr(pycompat, names[0], _Known(_KNOWN, dask=_NotYet()))
        setattr(utils, "is_dask_collection", _is_dask_collection)  # noqa: B010
