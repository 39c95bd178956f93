"""What `langevin ensemble` does: find the members, evaluate them, write file, figure and table."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import xarray as xr
from tqdm import tqdm

from langevin.errors import UserError
from langevin.files import storage
from langevin.files.destinations import check_output

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
    """Return what ensembles of the members of files are worth; each file is a method.

    Parameters
    ----------
    paths : sequence of path
        Results of networks: of one system, one data set.
    size : int, optional
        Replicas K of a repetition, which spend K budgets together (default: 3, or as many as there are).
    budget : float, optional
        Steps B of one budget (default: those of a run that gives a single member, else of the longest).
    threads : int, optional
        Processors to use (default: all that this process may).
    progress : bool
        Show a progress bar.

    Returns
    -------
    Dataset
        Dimensions method, repetition, member, budget, group, rate_point (docs/ensembles.md).

    Raises
    ------
    UserError
        Before anything is evaluated, as far as the files show it.
    """
    if budget is not None and not budget > 0:
        raise UserError(f"--budget {budget:g}: must be > 0 steps")
    with ExitStack() as opened:
        found = members.methods([Path(path) for path in paths])
        for method in found:
            opened.callback(method.dataset.close)
        steps = members.budget_of(found, budget)
        sizes = members.pooled(found, size)
        times = {method.name: members.affordable(method, steps) for method in found}
        total = sum((times[m.name].size + averages_of(times[m.name])) * m.replicas for m in found)
        evaluated: list[Evaluated] = []
        with tqdm(total=total, desc="ensembles", unit="network", disable=None if progress else True) as bar:
            for method in found:
                part = evaluate(method, sizes[method.name], times[method.name], threads, bar.update)
                if evaluated and part.data != evaluated[0].data:
                    raise UserError(
                        f"{method.path}: its examples are not those of {found[0].path}; needed: the same "
                        "data (where data are drawn at random, ensemble.seed must be the same, too)"
                    )
                evaluated.append(part)
        return results.dataset(evaluated, steps)


def carry_out(
    paths: Sequence[Path],
    output: Path,
    table: Path | None,
    *,
    size: int | None,
    budget: float | None,
    force: bool,
    threads: int | None,
    quiet: bool,
) -> str:
    """Evaluate ensembles and write what is asked for.

    Returns
    -------
    str
        The table and the paths of what was written; nothing if `quiet`.

    Raises
    ------
    UserError
        Before anything is written.
    """
    from langevin import plotting

    if not paths:
        raise UserError("ensemble needs a file or more, each of one method; given: 0")
    for path in paths:
        if path.is_dir():
            raise UserError(f"{path} is a folder; give result files")
    if output.suffix != ".nc":
        raise UserError(f"--output {output}: must end in .nc")
    figure = output.with_suffix(".png")
    for path in (output, figure, *([table] if table else [])):
        check_output(path, paths, force)
    if table and table.resolve() in {output.resolve(), figure.resolve()}:
        raise UserError(f"{table}: table and result cannot be one file")
    made = ensembles(paths, size=size, budget=budget, threads=threads, progress=not quiet)
    storage.write_result(made, output)
    lines = [report.text(made), f"result  {output}"]
    lines.append(f"figure  {plotting.save(made, figure)}")
    if table:
        lines.append(f"table   {report.write_csv(made, table)}")
    return "" if quiet else "\n".join(lines)
