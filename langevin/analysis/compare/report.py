"""A comparison is printed for the terminal, and written as a CSV file."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from langevin.files.disk import replacing
from langevin.observables.fits.extrapolation import POOR

from .results import Comparison, Difference, table

#: Rows shown of the energy, and of each waiting time. The CSV file has all.
ENERGY_ROWS, LAG_ROWS = 8, 4

CORRELATED = (
    "(p: two-sided, Student's t, of this point alone; neighbouring times are correlated: no p of them all)"
)

#: More of the fits than this part are refuted: the law is.
OFF = 0.05

#: z beyond this, as a normal deviate, is no noise: what differs is the physics, or the unit.
FAR = 10.0


def text(comparisons: Sequence[Comparison]) -> str:
    """Return a compact table of each comparison, with a summary of each quantity."""
    return "\n\n".join("\n".join(_lines(comparison)) for comparison in comparisons)


def _lines(comparison: Comparison) -> Iterator[str]:
    for letter, curves in (("A", comparison.a), (comparison.letter, comparison.b)):
        yield f"{letter}  {curves.label}" + (f"  [{curves.source}]" if curves.source else "")
    for quantity in dict.fromkeys(d.quantity for d in comparison.differences):
        yield ""
        yield from _quantity_lines(comparison, quantity)
    rest = [*comparison.notes, *(f"not compared: {line}" for line in comparison.unmatched)]
    if rest:
        yield ""
        yield from rest


def _quantity_lines(comparison: Comparison, quantity: str) -> Iterator[str]:
    differences, b = comparison.of(quantity), comparison.letter
    energy, alike = differences[0].waiting is None, comparison.alike(quantity)
    yield quantity
    along = comparison.a.along
    heads = [_symbol(along)] if energy else ["t_w of A", f"t_w of {b}", "lag t"]
    line = "".join(f"{head:>10}" for head in heads) + f"{'A':>14}{b:>14}"
    yield line + (f"{f'{b} − A':>24}{f'({b} − A)/σ':>11}{'p':>9}" if alike else "")
    for difference in differences:
        for k in spread(difference.points.x, ENERGY_ROWS if energy else LAG_ROWS):
            yield _row(difference, k, alike)
    if any((d.points.interpolated != "").any() for d in differences):
        yield "  ~ interpolated (PCHIP in log t); its error, by leaving out every second point, is part of σ"
    yield "  " + summary(comparison, quantity)
    if comparison.summary(quantity).with_error:
        yield f"  {CORRELATED}"
    yield from (f"  {line}" for line in _fit_lines(comparison, quantity))


def _symbol(along: str) -> str:
    """Return what stands above a column of what the energy is a function of."""
    return "t" if along == "time" else along


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


def _row(difference: Difference, k: int, alike: bool) -> str:
    p = difference.points
    times = [*(difference.waiting or ()), p.x[k]]
    cells = "".join(f"{value:10.4g}" for value in times)
    marked = [
        f"{'~' if p.interpolated[k] == letter else ''}{value:#.6g}"
        for letter, value in (("A", p.a[k]), ("B", p.b[k]))
    ]
    cells += "".join(f"{cell:>14}" for cell in marked)
    if not alike:
        return cells
    z = f"{p.z[k]:+.2f}" if math.isfinite(p.z[k]) else ""
    z = f"{z:>11}{_chance(p.probability[k]):>9}"
    return cells + f"{_plus_minus(p.difference[k], p.sigma[k]):>24}{z}"


def _plus_minus(difference: float, sigma: float) -> str:
    if not sigma > 0:
        return f"{difference:+.3g}"
    # Two digits of σ, and the difference to the same place.
    digits = max(0, 1 - math.floor(math.log10(sigma)))
    if digits > 8:
        return f"{difference:+.1e} ± {sigma:.1e}"
    return f"{difference:+.{digits}f} ± {sigma:.{digits}f}"


def _chance(p: float) -> str:
    if not math.isfinite(p):
        return ""
    return f"{p:.2g}" if p >= 1e-9 else "< 1e-9"


def summary(comparison: Comparison, quantity: str) -> str:
    """Return what the differences of a quantity amount to, in a line or two."""
    s, b = comparison.summary(quantity), comparison.letter
    along = comparison.a.along
    where = f"{_symbol(along)} = {s.at:g}" if s.waiting is None else f"t_w = {s.waiting[0]:g}, lag {s.at:g}"
    what = ("time" if along == "time" else "point") if s.waiting is None else "pair"
    if not comparison.alike(quantity):
        return f"not one quantity in A and {b}: no difference is given, of {s.points} {what}s"
    if s.with_error == 0:
        return f"no error bar; largest |{b} − A| = {abs(s.largest):.3g} at {where}, of {s.points} {what}s"
    rms, largest = f"rms z = {s.rms_z:.2f}", f"max |z| = {abs(s.largest):.2f} at {where}"
    if math.isfinite(s.degrees):
        expected = f"{s.expected_rms:.2f}" if math.isfinite(s.expected_rms) else "∞"
        rms += f" ({expected} expected of equal curves, ν = {s.degrees:.3g})"
        largest += f" ({abs(s.deviate):.2f} as a normal deviate)"
    line = f"{rms}, over {s.with_error} {what}s\n  {largest}"
    if abs(s.deviate) > FAR:
        line += f"\n  z is far beyond noise: what {b} and A differ in is no matter of error bars"
    return line


def _fit_lines(comparison: Comparison, quantity: str) -> Iterator[str]:
    fits = [f for f in comparison.fits if f.quantity == quantity]
    if not fits:
        return
    f = fits[0]
    laws = {1: "linear", 2: "quadratic"}
    line = f"B: {laws.get(f.order, f'order {f.order}')} in 1/N, N = {_listed(f.sizes)}"
    if f.steps is not None:
        powers = f.fit.coefficients.shape[0] - 1 - f.order
        line += f"; {laws.get(powers, f'order {powers}')} in dt, dt = {_listed(f.steps)}"
    if f.fit.degrees == 0:
        yield f"{line}; as many coefficients as sizes: nothing tests the fit"
        return
    chi2, chance = (np.concatenate([getattr(f.fit, name) for f in fits]) for name in ("chi2", "probability"))
    known = np.isfinite(chi2)
    if not known.any():
        yield f"{line}; no time at which every file has a value and an error"
        return
    reduced, poor = np.mean(chi2[known]) / f.fit.degrees, int((chance[known] < POOR).sum())
    yield f"{line}; χ² per degree of freedom ({f.fit.degrees}) = {reduced:.2f}, mean over {known.sum()}"
    median = np.median(chance[known])
    yield f"p of χ²: median {median:.2g}; below {POOR:g} at {poor} of {known.sum()} (by chance: {POOR:.0%})"
    # Of neighbouring times, which go together, one or two may be off by chance.
    if poor > max(OFF * known.sum(), 1):
        yield "a poor fit: the sizes are too small for the order, and the error of B does not hold"


def _listed(values: Any) -> str:
    return ", ".join(f"{v:g}" for v in np.unique(values))


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
