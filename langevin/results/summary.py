"""A result is summed up in a few lines of text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from langevin.observables.aging import aging_exponent
from langevin.observables.landscape.barriers import barrier_in_words
from langevin.observables.landscape.spectra import eigenvalues, has_spectrum
from langevin.observables.landscape.spectra import summary as spectra
from langevin.observables.statistics import Estimate, average
from langevin.observables.sufficiency import stated, too_few
from langevin.observables.training.regimes import regimes, time_in_words

from . import exponent_words
from .kinds import kind_of
from .members import members, sweep_dims, text

if TYPE_CHECKING:
    import xarray as xr

#: Global attributes that say what a file is and where it comes from.
_ORIGIN = (
    "title",
    "status",
    "system",
    "source",
    "commit",
    "versions",
    "device",
    "seed",
    "start_file",
    "start_time",
    "wall_time_seconds",
    "history",
)

#: Resamples for an error bar of two digits: they give it to 5 %.
_RESAMPLES = 200

#: Waiting times that a fit of aging needs.
_WAITING_TIMES = 4

#: Columns of the table of a sweep, as far as the file has them.
_FINAL = ("energy", "test_loss", "train_accuracy", "test_accuracy")

#: Rows of the table of training: the variables of training set and test set.
_TRAINING = {"loss": ("energy", "test_loss"), "accuracy": ("train_accuracy", "test_accuracy")}


def contents(dataset: xr.Dataset, came_out: str | None = None) -> str:
    """Return where a result comes from, what is in it, and its `results`, if they are not given."""
    lines = [f"{name:18} {said}".replace("\n", "\n" + " " * 19) for name, said in origin(dataset).items()]
    lines.append("dimensions         " + ", ".join(f"{name} {size}" for name, size in dataset.sizes.items()))
    lines += [f"  {name}: {meaning} [{unit}]" for name, meaning, unit in variables(dataset)]
    return "\n".join([*lines, results(dataset) if came_out is None else came_out])


def origin(dataset: xr.Dataset) -> dict[str, str]:
    """Return the attributes that say what a file is and where it comes from."""
    return {name: str(dataset.attrs[name]) for name in _ORIGIN if name in dataset.attrs}


def variables(dataset: xr.Dataset) -> Iterator[tuple[str, str, str]]:
    """Yield each variable with its dimensions, its meaning and its unit."""
    for variable in dataset.data_vars.values():
        dims = ", ".join(str(d) for d in variable.dims)
        meaning, unit = (str(variable.attrs.get(name, "")) for name in ("long_name", "units"))
        yield f"{variable.name}({dims})", meaning, unit


def results(dataset: xr.Dataset) -> str:
    """Return what came out, in the lines that the kind of the result gives (`langevin.results.kinds`)."""
    return "\n".join(kind_of(dataset).lines(dataset))


def of_run(dataset: xr.Dataset) -> Iterator[str]:
    """Say final energy, or losses and accuracies of a training; msd at the longest lags, aging, spectra.

    Of curves, also their barriers.
    """
    if "temperature" in dataset.coords and "protocol" in dataset["temperature"].attrs:
        bath = dataset["temperature"]
        yield f"T(t) = {bath.attrs['protocol']}; T = {float(bath[-1]):g} at t = {float(bath['time'][-1]):g}"
    # Along curves test_loss stands without a training of its own.
    if {"energy", "test_loss"} <= set(dataset) and "highest_energy" not in dataset:
        yield from _training(dataset)
        yield from _regimes(dataset)
    elif "energy" in dataset:
        yield from _energy(dataset["energy"])
    if "msd" in dataset:
        yield from _two_time(dataset)
        yield from _aging(dataset)
    if has_spectrum(dataset):
        yield from _spectra(dataset)
        yield from _few_spectra(dataset)
    if "barrier" in dataset:
        yield from _barriers(dataset)
    yield from _few(dataset)


def _few_spectra(dataset: xr.Dataset) -> Iterator[str]:
    """Say why edges stand without their errors, where means have theirs."""
    samples = int(average(eigenvalues(dataset)).error.attrs["samples"])
    if dataset.sizes["replica"] > 1 and not too_few("mean", samples):
        lacking = too_few("hessian_lowest", samples)
        if lacking:
            yield f"edges without ±: {lacking}"


def _few(dataset: xr.Dataset) -> Iterator[str]:
    """Say why means stand without their errors, where they do."""
    name = next((n for n in ("energy", "msd") if n in dataset and "replica" in dataset[n].dims), "")
    if name and dataset.sizes["replica"] > 1:
        lacking = too_few(name, int(average(dataset[name]).error.attrs["samples"]))
        if lacking:
            yield f"means without ±: {lacking}"


def _barriers(dataset: xr.Dataset) -> Iterator[str]:
    """Say how high the barriers of curves are, along the curve and along the shortest way."""
    for name, words in (("barrier", "along the curve"), ("shortest_barrier", "along the shortest way")):
        yield f"barrier {words}: {barrier_in_words(dataset, name)}"
    if "length_ratio" in dataset:
        known = dataset["length_ratio"].dropna("time", how="all")
        if known.sizes["time"]:
            averaged = average(known[:, -1])
            samples = int(averaged.error.attrs["samples"])
            ratio = stated("length_ratio", float(averaged.mean), float(averaged.error), samples)
            yield f"length over the shortest: {ratio}"


def of_sweep(dataset: xr.Dataset) -> Iterator[str]:
    """Say how each member of a sweep ended."""
    dims = sweep_dims(dataset)
    columns = [name for name in _FINAL if name in dataset]
    rows = [[*dims, "t", *columns]]
    remarks = []
    for labels, member in members(dataset):
        known = [_final(member[name]) if name in member else (np.nan, "") for name in columns]
        rows.append(
            [*map(text, labels.values()), f"{known[0][0] if known else np.nan:g}", *(v for _, v in known)]
        )
        status = str(member.attrs.get("status", ""))
        remarks.append("" if status == "complete" else f"  {status}")
    for line, remark in zip(table(rows), ["", *remarks], strict=True):
        yield line + remark


def table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield rows as lines, their columns flush right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))


def _energy(energy: xr.DataArray) -> Iterator[str]:
    time, value = _final(energy)
    line = f"energy at t = {time:g}: {value}"
    if "asymptote" in energy.attrs:
        line += f"   ({energy.attrs['asymptote_meaning']}: {energy.attrs['asymptote']:.6f})"
    yield line


def _training(dataset: xr.Dataset) -> Iterator[str]:
    time, _ = _final(dataset["energy"])
    yield f"{f'at t = {time:g}':>14}{'training':>22}{'test':>22}"
    for row, names in _TRAINING.items():
        if not any(name in dataset for name in names):
            continue
        cells = [_last(dataset, name) if name in dataset else "" for name in names]
        yield f"{row:>14}{cells[0]:>22}{cells[1]:>22}".rstrip()


def _regimes(dataset: xr.Dataset) -> Iterator[str]:
    """Say where the loss begins to fall and where it ends to, or why that is not known."""
    corners = regimes(dataset)
    for name, meaning in (("t1", "the loss begins to fall"), ("t2", "the loss is at its last level")):
        none = "reason" in corners[name].attrs
        yield f"{name:>14}  {time_in_words(corners, name)}" + ("" if none else f": {meaning}")


def _two_time(dataset: xr.Dataset) -> Iterator[str]:
    yield f"{'waiting time':>14}{'lag':>10}{'msd':>22}{'correlation':>22}"
    both = [average(dataset[name]) if name in dataset else None for name in ("msd", "correlation")]
    for i, waiting in enumerate(dataset["waiting_time"].to_numpy()):
        reached = np.flatnonzero(dataset["msd"][:, i].notnull().any("replica"))
        if reached.size:
            j = int(reached[-1])
            cells = [f"{_mean(e, (i, j)):>22}" if e else "" for e in both]
            yield f"{waiting:14.4g}{float(dataset['lag'][j]):10.4g}{''.join(cells)}"


def _aging(dataset: xr.Dataset) -> Iterator[str]:
    """Say how the time to a displacement grows with the waiting time, where four waiting times tell."""
    msd, accuracy = dataset["msd"], exponent_words.accuracy(dataset)
    known = msd.notnull().any([d for d in msd.dims if d != "waiting_time"]) & (msd["waiting_time"] > 0)
    if int(known.sum()) < _WAITING_TIMES:
        return
    fit = aging_exponent(msd, least=_WAITING_TIMES, resamples=_RESAMPLES, accuracy=accuracy)
    level, why = f"Δ* = {float(fit['threshold']):.3g}", exponent_words.reason(fit)
    if why:
        local = exponent_words.local(fit)
        course = f"; {level}: d ln t*/d ln t_w = {local} from early to late t_w" if local else ""
        yield f"aging: no exponent of t*(t_w): {why}{course}"
        return
    errors = exponent_words.parts(fit, accuracy is not None)
    yield (
        f"aging: t* ~ t_w^μ, μ = {exponent_words.exponent(fit)} ({errors}; {level}; "
        f"halves of t_w: {exponent_words.halves(fit)})"
    )


def _spectra(dataset: xr.Dataset) -> Iterator[str]:
    """Say where the Hessian's spectrum ends, and how much of it is negative, at every time."""
    edges = spectra(dataset)
    yield f"{'Hessian at':>14}{'lowest':>22}{'highest':>22}{'part negative':>22}"
    names = ("lowest", "highest", "negative_fraction")
    columns = [average(edges[name]) for name in names]
    for i, time in enumerate(edges["hessian_time"].to_numpy()):
        if np.isfinite(columns[0].mean[i]):
            cells = [_mean(c, i, f"hessian_{name}") for c, name in zip(columns, names, strict=True)]
            yield f"{time:14.4g}" + "".join(f"{cell:>22}" for cell in cells)


def _final(values: xr.DataArray) -> tuple[float, str]:
    """Return the last known time, and the average there with its error."""
    values = values.dropna("time", how="all")
    if not values.sizes["time"]:
        return float("nan"), "unknown"
    estimate = average(values[:, -1:])
    return float(values["time"][-1]), _mean(estimate, 0)


def _mean(averaged: Estimate, at: Any, quantity: str = "mean") -> str:
    """Return one of the means, with its error where that holds; a single replica has none."""
    lacking = too_few(quantity, int(averaged.error.attrs["samples"]))
    return plus_minus(averaged.mean[at], np.nan if lacking else averaged.error[at])


def _last(dataset: xr.Dataset, name: str) -> str:
    """Return the last known average and its error: of one replica that which the file states."""
    said, own = _final(dataset[name])[1], f"{name}_error"
    if dataset.sizes["replica"] > 1 or own not in dataset:
        return said
    values, errors = (dataset[n].isel(replica=0).dropna("time") for n in (name, own))
    if not (values.size and errors.size):
        return said
    of = " over examples" if dataset[own].attrs.get("kind") == "sampling" else ""
    return plus_minus(values[-1], errors[-1]) + of


def plus_minus(mean: Any, error: Any = 0.0) -> str:
    """Return a mean with its error, if there is one."""
    mean, error = float(mean), float(error)
    # Displacements of weights, and losses at the bottom, are small.
    digits = ".2e" if 0 < abs(mean) < 1e-3 else ".5f"
    return f"{mean:{digits}}" + (f" ± {error:{digits}}" if error > 0 else "")
