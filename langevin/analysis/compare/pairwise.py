"""Two results differ by so many of their standard errors."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
import xarray as xr

from langevin.errors import UserError, shortened
from langevin.observables.fits.curves import ROUNDING, NothingInCommon, align
from langevin.results.kinds import ONE_TIME, TWO_TIME, has, two_time_names
from langevin.speech import option

from . import files
from .files import Curves
from .results import Comparison, Difference

#: Waiting times of two files are paired if they differ by no more than this factor.
MATCH = 1.1


def compare(
    a: xr.Dataset,
    b: xr.Dataset,
    quantity: str | None = None,
    match: float = MATCH,
    labels: Sequence[str] | None = None,
    letter: str = "B",
) -> Comparison:
    """Compare two results: energies, and a two-time observable at the nearest common waiting times.

    Parameters
    ----------
    a, b : Dataset
        Results or checkpoints of any system; differences are b − a.
    quantity : str, optional
        Two-time observable; default: msd, where both have it.
    match : float
        Waiting times are paired, nearest first in the logarithm, if they differ by no more than this factor.
    labels : two str, optional
        Names of the two; default: their titles or file names.
    letter : str
        What `b` is called in notes and tables, where there are several beside one `a`.

    Raises
    ------
    UserError
        If there is nothing to compare.

    Examples
    --------
    >>> comparison = compare(langevin.open("ck.nc"), langevin.open("pspin.nc"))  # doctest: +SKIP
    >>> comparison.table()["z"]  # doctest: +SKIP
    """
    name, note = choose_quantity([a, b], quantity)
    first, second = labels or files.labels([a, b])
    comparison = compare_curves(
        files.curves(a, name, first), files.curves(b, name, second), name, match, letter
    )
    names = ["time", "energy", *([name] if name else [])]
    notes = [*files.differing(a, b, letter), *note, *_units(a, b, names, letter)]
    notes += [warning for d, called in ((a, "A"), (b, letter)) if (warning := files.few(d, "energy", called))]
    comparison.notes[:0] = [*notes, *files.same_seed([a, b])]
    return comparison


def compare_curves(a: Curves, b: Curves, quantity: str | None, match: float, letter: str = "B") -> Comparison:
    """Compare the curves of two files (or of a file and a limit)."""
    if not match >= 1:
        raise UserError(f"{option('match', f'{match:g}')}: a factor, so it must be ≥ 1")
    comparison = Comparison(a, b, quantity, [], letter=letter)
    reasons = []
    if a.energy is not None and b.energy is not None:
        try:
            comparison.differences.append(Difference("energy", None, align(a.energy, b.energy)))
        except NothingInCommon as error:
            reasons.append(f"energy: {error}")
    else:
        reasons.append(f"energy: none over time in {'A' if a.energy is None else letter}")
    if quantity is not None:
        reasons += _compare_two_time(comparison, quantity, match)
    if not comparison.differences:
        raise UserError(f"nothing to compare: A = {a.label}, {letter} = {b.label}: {'; '.join(reasons)}")
    comparison.notes.extend(reasons)
    comparison.notes.extend(_without_error(comparison))
    return comparison


def _compare_two_time(comparison: Comparison, quantity: str, match: float) -> list[str]:
    """Add the paired waiting times to a comparison, and what is not paired; return why if none is."""
    pairs = pair(list(comparison.a.two_time), list(comparison.b.two_time), match)
    for u, w in pairs:
        try:
            points = align(comparison.a.two_time[u], comparison.b.two_time[w])
            comparison.differences.append(Difference(quantity, (u, w), points))
        except NothingInCommon as error:
            comparison.unmatched.append(f"t_w = {u:g} in A, {w:g} in {comparison.letter}: {error}")
    for letter, curves, k in (("A", comparison.a, 0), (comparison.letter, comparison.b, 1)):
        paired = {p[k] for p in pairs}
        alone = [w for w in curves.two_time if w not in paired]
        comparison.unmatched.extend(f"t_w = {w:g} in {letter}: none within a factor {match:g}" for w in alone)
        comparison.unmatched.extend(f"t_w = {w:g} in {letter}: not reached" for w in curves.unreached)
    unequal = [max(u, w) / min(u, w) for u, w in pairs if not _same(u, w)]
    if unequal:
        comparison.notes.append(
            f"{quantity}: paired waiting times differ by up to {100 * (max(unequal) - 1):.2g} %; "
            "what that changes is not in σ"
        )
    return [] if comparison.of(quantity) else [f"{quantity}: no matching waiting time"]


def pair(a: Sequence[float], b: Sequence[float], match: float = MATCH) -> list[tuple[float, float]]:
    """Pair each waiting time of `a` with its nearest in `b` in the logarithm, each used once.

    Parameters
    ----------
    a, b : sequence of float
        ≥ 0; 0 is paired with 0 only.
    match : float
        Largest factor between the two of a pair.

    Returns
    -------
    list of (float, float)
        Ascending.
    """
    distances = sorted(
        (distance, u, w)
        for u in a
        for w in b
        if (distance := _log_distance(u, w)) <= math.log(match) + ROUNDING
    )
    pairs: list[tuple[float, float]] = []
    for _, u, w in distances:
        if all(u != p[0] and w != p[1] for p in pairs):
            pairs.append((u, w))
    return sorted(pairs)


def _log_distance(u: float, w: float) -> float:
    if u == w:
        return 0.0
    return abs(math.log(u / w)) if min(u, w) > 0 else math.inf


def choose_quantity(datasets: Sequence[xr.Dataset], asked: str | None) -> tuple[str | None, list[str]]:
    """Return the two-time observable to compare, and a note if there is none."""
    if asked == "energy" and all(has(d, asked, *ONE_TIME) for d in datasets):
        # Compared in any case.
        return None, []
    name = asked or "msd"
    lacking = [d for d in datasets if not has(d, name, *TWO_TIME)]
    if not lacking:
        return name, []
    if asked is None:
        where = ", ".join(files.source(d) for d in lacking)
        return None, [f"no msd in {where}: energies only ({option('quantity')} compares another)"]
    common = [n for n in two_time_names(datasets[0]) if all(has(d, n, *TWO_TIME) for d in datasets)]
    allowed = ", ".join(common) or "none, the files share no two-time observable"
    there = "no two-time observable" if name in lacking[0].variables else "not"
    where = files.source(lacking[0])
    raise UserError(
        f"{option('quantity', repr(shortened(name)))}: {there} in {where}; allowed: {allowed}, energy alone"
    )


def _units(a: xr.Dataset, b: xr.Dataset, names: Iterable[str], letter: str) -> list[str]:
    notes = []
    for name in names:
        if name in a and name in b:
            first, second = (files.identity(d[name]) for d in (a, b))
            said = first.meaning and second.meaning and first.meaning != second.meaning
            if first.kind != second.kind or said:
                meanings = [i.meaning or name for i in (first, second)]
                notes.append(f"{name}: {meanings[0]} in A, {meanings[1]} in {letter}: not one quantity")
            if first.unit != second.unit:
                then = "compared as they are" if name == "time" else "no z is given"
                notes.append(
                    f"{name}: units differ, {first.unit!r} in A, {second.unit!r} in {letter}; {then}"
                )
            seen = [d[name].attrs.get("batch_norm_statistics") for d in (a, b)]
            if None not in seen and seen[0] != seen[1]:
                notes.append(
                    f"{name}: batch-norm has {seen[0]} in A, statistics {seen[1]} in {letter}: of the same "
                    "weights these are two values"
                )
    return notes


def _without_error(comparison: Comparison) -> list[str]:
    notes = []
    for quantity in dict.fromkeys(d.quantity for d in comparison.differences):
        for part, letter in (("a", "A"), ("b", comparison.letter)):
            errors = [getattr(d.points, f"{part}_error") for d in comparison.of(quantity)]
            if all(np.isnan(e).all() for e in errors):
                notes.append(
                    f"{quantity}: no error bar in {letter} (one replica, no {quantity}_error): "
                    f"({comparison.letter} − A)/σ is left blank"
                )
    return notes


def _same(a: float, b: float) -> bool:
    return abs(a - b) <= ROUNDING * max(a, b)
