"""A kind of result is recognised by what a file holds, and names the functions that say and draw it.

Both are named as strings, and imported when they are asked for: results know neither `langevin.analysis` nor
`langevin.plotting`. A further kind is a further entry of `KINDS`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from langevin.errors import UserError, shortened

from .at_hand import at_hand
from .members import sweep_dims

if TYPE_CHECKING:
    import xarray as xr

#: Dimensions of one-time and two-time observables of a single run.
ONE_TIME, TWO_TIME = ("replica", "time"), ("replica", "waiting_time", "lag")


@dataclass(frozen=True)
class ResultKind:
    """A kind of result.

    Attributes
    ----------
    recognises : callable
        Whether a dataset is of this kind; kinds that stand before it in `KINDS` are asked first.
    called : callable
        What messages call a dataset of this kind: "a sweep over temperature".
    summary : str
        "module:function" that returns the lines of the summary of a dataset.
    figures : tuple of str
        Modules that register its figures (`langevin.plotting.register`), in the order of `quantities`.
    """

    name: str
    recognises: Callable[[xr.Dataset], bool]
    called: Callable[[xr.Dataset], str]
    summary: str
    figures: tuple[str, ...]

    def lines(self, dataset: xr.Dataset) -> Iterable[str]:
        """Return the lines of the summary of a dataset."""
        module, _, function = self.summary.partition(":")
        lines: Iterable[str] = getattr(importlib.import_module(module), function)(at_hand(dataset))
        return lines


def has(dataset: xr.Dataset, name: str, *dims: str) -> bool:
    """Say whether a dataset holds a variable of exactly these dimensions."""
    return name in dataset and dataset[name].dims == dims


def two_time_names(dataset: xr.Dataset) -> list[str]:
    """Return the two-time observables of a run or a sweep; the error of another is none."""
    dims = (*sweep_dims(dataset), *TWO_TIME)
    names = [str(name) for name, variable in dataset.data_vars.items() if variable.dims == dims]
    return [n for n in names if not (n.endswith("_error") and n.removesuffix("_error") in dataset)]


def has_curve(dataset: xr.Dataset) -> bool:
    """Say whether a dataset holds the control points of final curves."""
    return has(dataset, "control", "replica", "control_point", "component")


def _is_measured(dataset: xr.Dataset) -> bool:
    swept = sweep_dims(dataset)
    return has(dataset, "energy", *swept, *ONE_TIME) or has(dataset, "msd", *swept, *TWO_TIME)


def _is_curve(dataset: xr.Dataset) -> bool:
    known = has_curve(dataset) or has(dataset, "curve_energy", "replica", "position")
    return known and _is_measured(dataset)


_PLOTS = "langevin.plotting."

#: Figures of a single run.
_OF_RUNS = tuple(
    _PLOTS + name
    for name in (
        "two_time",
        "one_time",
        "training",
        "aging",
        "spectra",
        "structure",
        "curves",
        "layers",
        "temperature",
        "response",
        "fluctuations",
        "gaps",
        "inherent",
    )
)

RUN = ResultKind("run", _is_measured, lambda _: "a run", "langevin.results.summary:of_run", _OF_RUNS)

SWEEP = ResultKind(
    "sweep",
    lambda dataset: bool(sweep_dims(dataset)) and _is_measured(dataset),
    lambda dataset: f"a sweep over {', '.join(sweep_dims(dataset))}",
    "langevin.results.summary:of_sweep",
    tuple(
        _PLOTS + name
        for name in (
            *("sweep", "memory", "cycle", "aging_sweep", "training_sweep", "alignment", "barriers"),
            *("contest", "gaps", "inherent", "jamming", "jamming_aging", "bad_minima"),
        )
    ),
)

#: Asked one after the other.
KINDS = (
    SWEEP,
    ResultKind(
        "plane",
        lambda dataset: has(dataset, "energy", "y", "x"),
        lambda _: "a plane",
        "langevin.analysis.plane.report:lines",
        (_PLOTS + "plane",),
    ),
    ResultKind(
        "ensembles",
        lambda dataset: has(dataset, "ensemble_error", "method", "repetition", "member"),
        lambda _: "ensembles",
        "langevin.analysis.ensemble.report:lines",
        (_PLOTS + "ensembles",),
    ),
    ResultKind("curve", _is_curve, lambda _: "a curve", RUN.summary, _OF_RUNS),
    RUN,
)


def recognised(dataset: xr.Dataset) -> ResultKind | None:
    """Return the kind of a result; None if a dataset is none."""
    return next((kind for kind in KINDS if kind.recognises(dataset)), None)


def kind_of(dataset: xr.Dataset) -> ResultKind:
    """Return the kind of a result; what somebody took out of a result counts as a sweep or a run."""
    return recognised(dataset) or (SWEEP if sweep_dims(dataset) else RUN)


def is_result(dataset: xr.Dataset) -> bool:
    """Say whether a dataset is a result, or what somebody took out of one."""
    return recognised(dataset) is not None or "replica" in dataset.dims


def require_result(dataset: xr.Dataset) -> None:
    """Make sure that a dataset is a result, or what somebody took out of one.

    Raises
    ------
    UserError
        If it is something else.
    """
    if not is_result(dataset):
        there = ", ".join(map(str, dataset.variables)) or "no variables"
        raise UserError(
            f"not a result of langevin: it holds {shortened(there)}; a run has energy(replica, time), or "
            "msd(replica, waiting_time, lag)"
        )


def require_run(dataset: xr.Dataset, name: str = "", hint: str = "") -> None:
    """Make sure that a dataset is the result of a single run, of a curve or not.

    Parameters
    ----------
    name : str
        What messages call the file.
    hint : str
        What is added to the message: how a part of the file could serve.

    Raises
    ------
    UserError
        If it is of another kind.
    """
    kind = kind_of(dataset)
    if kind.name not in ("run", "curve"):
        said = f"{name}: holds" if name else "the file holds"
        raise UserError(f"{said} {kind.called(dataset)}; allowed: the file of a single run{hint}")
