"""A comparison as text for the terminal, and as a CSV file."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from langevin.comparison.results import Comparison, Difference, table
from langevin.storage import replacing

#: Rows shown of the energy, and of each waiting time. The CSV file has all.
ENERGY_ROWS, LAG_ROWS = 8, 4

CORRELATED = "(values at neighbouring times are correlated: no p-value follows from these)"


def text(comparisons: Sequence[Comparison]) -> str:
    """Return a compact table of each comparison, with a summary of each quantity."""
    return "\n\n".join("\n".join(_lines(comparison)) for comparison in comparisons)


def _lines(comparison: Comparison) -> Iterator[str]:
    for letter, curves in (("A", comparison.a), ("B", comparison.b)):
        yield f"{letter}  {curves.label}" + (f"  [{curves.source}]" if curves.source else "")
    for quantity in dict.fromkeys(d.quantity for d in comparison.differences):
        yield ""
        yield from _quantity_lines(comparison, quantity)
    rest = [*comparison.notes, *(f"not compared: {line}" for line in comparison.unmatched)]
    if rest:
        yield ""
        yield from rest


def _quantity_lines(comparison: Comparison, quantity: str) -> Iterator[str]:
    differences = comparison.of(quantity)
    energy = differences[0].waiting is None
    yield quantity
    heads = ["t"] if energy else ["t_w of A", "t_w of B", "lag t"]
    yield "".join(f"{head:>11}" for head in heads) + f"{'A':>15}{'B':>15}{'B − A':>24}{'(B − A)/σ':>12}"
    for difference in differences:
        for k in spread(difference.points.x, ENERGY_ROWS if energy else LAG_ROWS):
            yield _row(difference, k)
    if any((d.points.interpolated != "").any() for d in differences):
        yield "  ~ interpolated (PCHIP in log t); its error, by leaving out every second point, is part of σ"
    yield "  " + _summary(comparison, quantity)
    if comparison.summary(quantity).with_error:
        yield f"  {CORRELATED}"
    yield from (f"  {line}" for line in _fit_lines(comparison, quantity))


def spread(x: Any, count: int) -> list[int]:
    """Return the indices of at most `count` points, spread evenly in the logarithm of x > 0; the last is one.

    Parameters
    ----------
    x : ndarray, shape (points,)
        Ascending.
    """
    positive = np.flatnonzero(x > 0)
    if positive.size == 0:
        return list(range(min(count, x.size)))
    wanted = np.linspace(np.log(x[positive[0]]), np.log(x[positive[-1]]), count)
    nearest = np.abs(np.log(x[positive])[:, None] - wanted).argmin(axis=0)
    return sorted({int(positive[k]) for k in nearest})


def _row(difference: Difference, k: int) -> str:
    p = difference.points
    times = [*(difference.waiting or ()), p.x[k]]
    cells = "".join(f"{value:11.4g}" for value in times)
    marked = [
        f"{'~' if p.interpolated[k] == letter else ''}{value:#.6g}"
        for letter, value in (("A", p.a[k]), ("B", p.b[k]))
    ]
    cells += "".join(f"{cell:>15}" for cell in marked)
    return cells + f"{_plus_minus(p.difference[k], p.sigma[k]):>24}{_z(p.z[k]):>12}"


def _plus_minus(difference: float, sigma: float) -> str:
    if not sigma > 0:
        return f"{difference:+.3g}"
    # Two digits of σ, and the difference to the same place.
    digits = max(0, 1 - math.floor(math.log10(sigma)))
    if digits > 8:
        return f"{difference:+.1e} ± {sigma:.1e}"
    return f"{difference:+.{digits}f} ± {sigma:.{digits}f}"


def _z(z: float) -> str:
    return f"{z:+.2f}" if math.isfinite(z) else ""


def _summary(comparison: Comparison, quantity: str) -> str:
    s = comparison.summary(quantity)
    where = f"t = {s.at:g}" if s.waiting is None else f"t_w = {s.waiting[0]:g}, lag {s.at:g}"
    what = "time" if s.waiting is None else "pair"
    if s.with_error == 0:
        return f"no error bar; largest |B − A| = {abs(s.largest):.3g} at {where}, of {s.points} {what}s"
    return f"rms z = {s.rms_z:.2f}, max |z| = {abs(s.largest):.2f} at {where}, over {s.with_error} {what}s"


def _fit_lines(comparison: Comparison, quantity: str) -> Iterator[str]:
    fits = [f for f in comparison.fits if f.quantity == quantity]
    if not fits:
        return
    order = fits[0].fit.coefficients.shape[0] - 1
    sizes = ", ".join(f"{n:g}" for n in fits[0].sizes)
    line = f"B: {('linear', 'quadratic')[order - 1] if order < 3 else f'order {order}'} in 1/N, N = {sizes}"
    if fits[0].fit.degrees == 0:
        yield f"{line}; as many coefficients as sizes: nothing tests the fit"
        return
    chi2 = np.concatenate([f.fit.chi2 for f in fits])
    reduced = np.nanmean(chi2) / fits[0].fit.degrees
    yield f"{line}; χ² per degree of freedom ({fits[0].fit.degrees}) = {reduced:.2f}, mean over {chi2.size}"


def write_csv(comparisons: Sequence[Comparison], path: Path) -> Path:
    """Write every compared point, in full precision; what is unknown is empty."""
    rows = table(comparisons)
    columns = [rows[name].to_numpy() for name in rows.data_vars]
    with replacing(path) as aside, aside.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(rows.data_vars)
        for row in zip(*columns, strict=True):
            writer.writerow(_cell(value) for value in row)
    return path


def _cell(value: Any) -> str:
    if isinstance(value, str):
        return str(value)
    return repr(float(value)) if math.isfinite(value) else ""
