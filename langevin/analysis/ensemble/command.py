"""Ensembles of the members of files are evaluated here, from the files to a dataset."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import xarray as xr

from langevin.errors import UserError
from langevin.speech import option

from ..shell import Output, bar, check_inputs, figure, reading, result
from . import members, report, results
from .evaluation import Evaluated, averages_of, evaluate


def ensembles(
    paths: Sequence[str | Path],
    *,
    size: int | None = None,
    budget: float | None = None,
    threads: int | None = None,
    progress: bool = False,
) -> xr.Dataset:
    """Return what ensembles of the members of files are worth; arguments are those of `langevin.ensemble`."""
    if budget is not None and not budget > 0:
        raise UserError(f"{option('budget', f'{budget:g}')}: must be > 0 steps")
    check_inputs("ensemble", paths)
    with reading(paths) as datasets:
        methods = members.methods([Path(path) for path in paths], datasets)
        steps = members.budget_of(methods, budget)
        sizes = members.pooled(methods, size)
        times = {method.name: members.affordable(method, steps) for method in methods}
        total = sum((times[m.name].size + averages_of(times[m.name])) * m.replicas for m in methods)
        evaluated: list[Evaluated] = []
        with bar(total, "ensembles", "network", progress) as tick:
            for method in methods:
                part = evaluate(method, sizes[method.name], times[method.name], threads, lambda: tick(1))
                if evaluated and part.data != evaluated[0].data:
                    raise UserError(
                        f"{method.path}: its examples are not those of {methods[0].path}; needed: the same "
                        "data (where data are drawn at random, ensemble.seed must be the same, too)"
                    )
                evaluated.append(part)
        return results.dataset(evaluated, steps)


def outputs(output: Path | None, table: Path | None) -> list[Output]:
    """Return the outputs of ensembles: the result, the figure beside it, and the table of errors."""
    return [
        *([result(output), figure(output.with_suffix(".png"))] if output else []),
        *([Output("table", table, report.write_csv)] if table else []),
    ]
