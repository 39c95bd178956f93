"""The table of errors at one, two, three budgets is written as text, and as CSV."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from langevin.files.disk import replacing
from langevin.observables.sufficiency import too_few

if TYPE_CHECKING:
    import xarray as xr

#: What is said behind the name of a method of the networks with averaged weights.
AVERAGED = ", weights averaged"
PARTS = ("mean", "standard_error")

#: Columns of the CSV file.
COLUMNS = (
    "method",
    "budgets",
    "steps",
    "networks",
    "groups",
    "test_error",
    "test_error_standard_error",
    "loss",
    "loss_standard_error",
)


def text(dataset: xr.Dataset) -> str:
    """Return the table: methods as rows, budgets as columns, test error ± standard error in percent."""
    return "\n".join(lines(dataset))


def lines(dataset: xr.Dataset) -> Iterator[str]:
    """Yield the table: methods as rows, budgets as columns, test error ± standard error in percent."""
    budgets = [int(k) for k in dataset["budget"]]
    heads = [f"{k} budget{'s' * (k > 1)}" for k in budgets]
    rows = [["", *heads]]
    for method in dataset["method"].to_numpy():
        at = [dataset.sel({"method": method, "budget": k}) for k in budgets]
        rows.append([str(method), *map(_cell, at)])
        if _averages(at[0]):
            rows.append([f"{method}{AVERAGED}", *(_cell(part, "averaged") for part in at)])
    widths = [max(len(row[c]) for row in rows) for c in range(len(rows[0]))]
    steps = float(dataset.attrs["budget_steps"])
    yield (f"test error of ensembles (%), of {_counted(dataset)}; one budget is {steps:g} steps")
    for row in rows:
        first, *others = (
            cell.ljust(w) if c == 0 else cell.rjust(w)
            for c, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        yield "  ".join([first, *others]).rstrip()
    yield "mean ± standard error (networks pooled; disjoint groups of replicas averaged over)"
    yield from _limits(dataset)


def _positions(dataset: xr.Dataset) -> int:
    """Return what is classified; an older file knows examples alone."""
    return int(dataset.attrs.get("classified", dataset.attrs["test_examples"]))


def _counted(dataset: xr.Dataset) -> str:
    """Say how many examples, and of sequences how many positions, the ensembles are tested on."""
    examples, positions = int(dataset.attrs["test_examples"]), _positions(dataset)
    return f"{examples} examples" + f" ({positions} positions)" * (positions != examples)


def _limits(dataset: xr.Dataset) -> Iterator[str]:
    """Say what the errors leave out: few groups, and that all are tested on the same examples."""
    groups = dataset["groups"].where(dataset["groups"] > 1)
    lacking = too_few("budget_error", int(groups.min())) if bool(groups.notnull().any()) else ""
    if lacking:
        yield f"where there is no ±: {lacking.replace('samples', 'groups')}"
    part, count = float(dataset["budget_error_mean"].mean()), int(dataset.attrs["test_examples"])
    # Positions of one sequence are not independent of each other.
    if 0 < part < 1 and _positions(dataset) == count:
        common = 100 * math.sqrt(part * (1 - part) / count)
        yield f"besides, for all alike, ± {common:.2g} % from the choice of {count} test examples"


def _averages(at: xr.Dataset) -> bool:
    """Say whether the weights of this method's members were averaged; older files know nothing of it."""
    return "averaged_error_mean" in at and math.isfinite(float(at["averaged_error_mean"]))


def _cell(at: xr.Dataset, name: str = "budget") -> str:
    value, error = (float(at[f"{name}_error_{part}"]) * 100 for part in ("mean", "standard_error"))
    if not math.isfinite(value):
        return "–"
    # Two digits of the standard error, as far as there is one.
    digits = 2 if not error > 0 else min(6, max(2, 1 - math.floor(math.log10(error))))
    sure = math.isfinite(error) and not too_few("budget_error", int(at["groups"]))
    said = f"{value:.{digits}f}" + (f" ± {error:.{digits}f}" if sure else "")
    return f"{said} ({_networks(at, name)}; {int(at['groups'])})"


def _networks(at: xr.Dataset, name: str) -> int:
    """Return how many networks answer: with averaged weights one of each replica."""
    return int(at["networks"]) if name == "budget" else int(at["budget"])


def _numbers(at: xr.Dataset, name: str) -> list[int | str]:
    """Return what stands behind the method in a row of the CSV file."""
    values = [float(at[f"{name}_{kind}_{part}"]) for kind in ("error", "loss") for part in PARTS]
    steps = int(at["budget"]) * float(at.attrs["budget_steps"])
    counts = [_networks(at, name), int(at["groups"])]
    return [int(at["budget"]), repr(steps), *counts, *(repr(v) if math.isfinite(v) else "" for v in values)]


def write_csv(dataset: xr.Dataset, path: Path) -> Path:
    """Write the table in full precision, a row for each method and budget; what is unknown is empty."""
    with replacing(path) as aside, aside.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for method in dataset["method"].to_numpy():
            for k in dataset["budget"].to_numpy():
                at = dataset.sel({"method": method, "budget": k})
                if int(at["groups"]) == 0:
                    continue
                writer.writerow([method, *_numbers(at, "budget")])
                if _averages(at):
                    writer.writerow([f"{method}{AVERAGED}", *_numbers(at, "averaged")])
    return path
