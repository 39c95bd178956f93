"""Results of any systems are laid over each other: which quantities, on which axes, under which names."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr

from langevin.errors import UserError, shortened
from langevin.results import words
from langevin.results.kinds import ONE_TIME, TWO_TIME, has, two_time_names
from langevin.speech import option

from . import files
from .scaled import ScaledResult, knows_limit, scaled
from .scales import AS_MEASURED, Scales

#: What is shown where nothing is asked for.
USUAL = ("energy", "msd", "correlation")
#: Quantity and scale → what it is then.
FRACTIONS = {
    ("energy", "fraction"): "(E − E∞)/(E₀ − E∞)",
    ("msd", "plateau"): "Δ over its plateau",
    ("msd", "limit"): "Δ(t_w, t_w + t)/Δ(t_w, ∞)",
    ("msd", "at_waiting_time"): "Δ(t_w, t_w + t)/Δ(t_w, 2t_w)",
    ("correlation", "start"): "C(t_w, t_w + t)/C(t_w, t_w)",
}
#: More results are not told apart in one figure.
MOST = 12


@dataclass(frozen=True)
class Overlay:
    """Results laid over each other.

    Attributes
    ----------
    results : list of ScaledResult
    scales : Scales
        What each axis is divided by.
    quantities : list of str
        Shown, each in a panel: "energy" and two-time observables.
    time_unit : str or None
        The unit of measured times; None where the files have several.
    notes : list of str
        What a reader must know.
    """

    results: list[ScaledResult]
    scales: Scales
    quantities: list[str]
    time_unit: str | None
    notes: list[str] = field(default_factory=list)

    def meaning(self, name: str) -> tuple[str, str]:
        """Return what an axis or a quantity is, in words, and its unit."""
        if name == "lag" and self.scales.lag == "over_waiting_time":
            return "lag over waiting time", "1"
        if name in ("time", "waiting_time", "lag"):
            said = {"measured": "", "scaled": "scaled ", "relaxation": "relaxation-scaled "}
            unit = self.time_unit or "that of each file"
            how = self.scales.time or "measured"
            return said[how] + name.replace("_", " "), unit if how == "measured" else "1"
        if self.scales[name] != "measured":
            return FRACTIONS[name, self.scales[name]], "1"
        about = [r.about[name] for r in self.results if name in r.about]
        meanings = list(dict.fromkeys(str(a.get("long_name", name)) for a in about))
        units = list(dict.fromkeys(str(a.get("units", "1")) for a in about))
        return (
            meanings[0] if len(meanings) == 1 else name.replace("_", " "),
            units[0] if len(units) == 1 else "that of each file",
        )

    def table(self) -> xr.Dataset:
        """Return every point as a row.

        Returns
        -------
        Dataset
            Dimension row; variables system, quantity, waiting_time and at (time or lag) in the unit of the
            file, x, y and error as on the axes.
        """
        rows: dict[str, list[Any]] = {}
        for result in self.results:
            for quantity, curves in result.curves.items():
                for curve in curves:
                    n = curve.x.size
                    columns: dict[str, Any] = {
                        "system": [words.plain(result.name)] * n,
                        "quantity": [quantity] * n,
                        "waiting_time": np.full(n, curve.waiting),
                        "at": curve.at,
                        "x": curve.x,
                        "y": curve.y,
                        "error": curve.error,
                    }
                    for name, column in columns.items():
                        rows.setdefault(name, []).extend(column)
        return xr.Dataset({name: ("row", np.array(column)) for name, column in rows.items()})


def same_quantities(a: xr.Dataset, b: xr.Dataset, quantities: Sequence[str]) -> str:
    """Return why two results are not of the same quantities in the same units; "" if they are.

    Losses of different networks, or on different data, are not the same; nor are energies of different
    systems that theory leads to different limits. Finite N and its equations have one limit.
    """
    for name in ("time", *quantities):
        if name not in a or name not in b:
            continue
        first, second = (files.identity(d[name]) for d in (a, b))
        if first.unit != second.unit:
            return f"{name} in {first.unit!r} and in {second.unit!r}"
        if first.kind != second.kind or (
            first.meaning and second.meaning and first.meaning != second.meaning
        ):
            return f"{first.meaning or name} and {second.meaning or name}"
    systems = [d.attrs.get("system") for d in (a, b)]
    data = [d.attrs.get("data") for d in (a, b)]
    if data[0] != data[1]:
        return f"data {data[0]} and {data[1]}"
    if data != [None, None] and systems[0] != systems[1]:
        return f"losses of {systems[0]} and of {systems[1]}"
    ends = [float(d["energy"].attrs["asymptote"]) for d in (a, b) if "asymptote" in d.get("energy", d).attrs]
    if systems[0] != systems[1] and len(ends) == 2 and not math.isclose(*ends, rel_tol=1e-6):
        return f"energies that lead to {ends[0]:.6g} and to {ends[1]:.6g}"
    return ""


def overlay(
    datasets: Sequence[xr.Dataset],
    quantity: str | None = None,
    scales: Scales | None = None,
    labels: Sequence[str] = (),
) -> Overlay:
    """Lay results over each other.

    Parameters
    ----------
    datasets : sequence of Dataset
        Of single runs, of any systems.
    quantity : str, optional
        What to show, several with commas between (default: energy, msd and correlation).
    scales : Scales, optional
        What is decided of the axes; the rest is chosen: as measured where all results are of the same
        quantities in the same units, else each by its own scale.
    labels : sequence of str
        Names of the results (default: `langevin.results.words.names`).

    Raises
    ------
    UserError
        If there is nothing to show, results are too many, or names are not as many as results.
    """
    if len(datasets) > MOST:
        raise UserError(f"{len(datasets)} results: at most {MOST} are told apart in one figure; choose")
    if labels and len(labels) != len(datasets):
        raise UserError(
            f"{option('label')}: {len(labels)} given; allowed: one for each of {len(datasets)} results"
        )
    quantities = _quantities(datasets, quantity)
    notes: list[str] = []
    chosen = (scales or Scales()).over(_default(datasets, quantities, notes))
    names = list(labels) or words.names(datasets)
    results = [
        scaled(dataset, name, chosen, quantities) for dataset, name in zip(datasets, names, strict=True)
    ]
    shown = [q for q in quantities if any(q in r.curves for r in results)]
    if not shown:
        reasons = "; ".join(note for r in results for note in r.notes)
        raise UserError(f"nothing to compare: {reasons}")
    # What nobody has where nobody asked for it is no news.
    of_panels = [note for r in results for note in r.notes if any(f": {q}: " in note for q in shown)]
    units = {str(d["time"].attrs.get("units", "1")) for d in datasets if "time" in d.coords}
    few = [said for d, n in zip(datasets, names, strict=True) if (said := files.few(d, "energy", n))]
    notes += [*of_panels, *few, *_statistics(datasets, names)]
    return Overlay(
        results, chosen, shown, units.pop() if len(units) == 1 else None, [words.plain(n) for n in notes]
    )


def _quantities(datasets: Sequence[xr.Dataset], asked: str | None) -> list[str]:
    """Return what is shown."""
    there = ["energy"] * any(has(d, "energy", *ONE_TIME) for d in datasets)
    there += list(dict.fromkeys(name for d in datasets for name in two_time_names(d)))
    if asked is None:
        return [name for name in USUAL if name in there]
    wanted = list(dict.fromkeys(name.strip() for name in asked.split(",")))
    for name in wanted:
        if name not in there:
            said = option("quantity", repr(shortened(name)))
            raise UserError(f"{said}: in none of the files; allowed: {', '.join(there) or 'none'}")
    return wanted


def _default(datasets: Sequence[xr.Dataset], quantities: Sequence[str], notes: list[str]) -> Scales:
    """Return sensible scales: measured where all is of one kind and unit, else of each result its own."""
    apart = next((why for d in datasets[1:] if (why := same_quantities(datasets[0], d, quantities))), "")
    if not apart:
        return AS_MEASURED
    notes.append(f"not the same quantities ({apart}): each by its own scale, and no difference is tested")
    every = all(knows_limit(d) for d in datasets if has(d, "msd", *TWO_TIME))
    return Scales(
        time="scaled",
        lag="over_waiting_time",
        energy="fraction",
        msd="limit" if every else "at_waiting_time",
        correlation="start",
    )


def _statistics(datasets: Sequence[xr.Dataset], names: Sequence[str]) -> list[str]:
    """Return a note where losses have statistics of batch-norm that are not of one kind."""
    own = [(n, d["energy"].attrs.get("batch_norm_statistics")) for d, n in zip(datasets, names, strict=True)]
    kinds = {str(kind): name for name, kind in own if kind is not None}
    if len(kinds) < 2:
        return []
    said = ", ".join(f"{kind} in {words.plain(name)}" for kind, name in kinds.items())
    return [f"energy: batch-norm has statistics {said}: of the same weights these are two values"]
