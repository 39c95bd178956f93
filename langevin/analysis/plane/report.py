"""A plane is said in a table of its points and its grid, and a line for each trail on it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from langevin.results.summary import plus_minus, table

if TYPE_CHECKING:
    import xarray as xr


def lines(dataset: xr.Dataset) -> Iterator[str]:
    """Say what is known of the points of a plane, of its grid, and of what is projected onto it."""
    names = [str(n).removeprefix("point_") for n, v in dataset.data_vars.items() if v.dims == ("point",)]
    rows = [["", *names]]
    for k, point in enumerate(dataset["point"].to_numpy()):
        rows.append([str(point), *(plus_minus(dataset[f"point_{name}"][k]) for name in names)])
    known = [n if n in dataset else "" for n in names]
    for word, of in (("lowest of grid", np.nanmin), ("highest of grid", np.nanmax)):
        cells = [plus_minus(of(dataset[n])) if n and n not in ("x", "y") else "" for n in known]
        rows.append([word, *cells])
    yield from map(str.rstrip, table(rows))
    if "explained_variance" in dataset:
        parts = ", ".join(f"{100 * part:.3g} %" for part in dataset["explained_variance"].to_numpy())
        yield f"variance explained by principal components: {parts}"
    for kind in ("trajectory", "curve"):
        for k in range(dataset.sizes.get(kind, 0)):
            part, away = float(dataset[f"{kind}_explained"][k]), float(dataset[f"{kind}_residual"][k].max())
            yield (
                f"{kind} {dataset[kind][k].item()}: {100 * part:.3g} % of its variance in the plane, at most "
                f"{away:.4g} away from it"
            )
