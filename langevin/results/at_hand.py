"""What is small of a result on arrays of Dask is computed once, before it is looked at number by number."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import xarray as xr


def at_hand(dataset: xr.Dataset) -> xr.Dataset:
    """Return a dataset whose small variables are in memory, if they were arrays of Dask; large ones stay so.

    Summaries and figures ask for many single numbers, each of which would be computed from the file alone.
    """
    # Imported here: whoever checks a run file reads no results.
    from langevin.observables.pieces import HELD

    small = [name for name, v in dataset.variables.items() if v.chunks is not None and v.nbytes <= HELD]
    if not small:
        return dataset
    dataset = dataset.copy()
    for name in small:
        dataset.variables[name].load()
    return dataset
