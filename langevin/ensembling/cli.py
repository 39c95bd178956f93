"""The command `langevin ensemble`; what it does is imported when it is called."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path),
    default=Path("ensembles.nc"),
    show_default=True,
    help="Result file; the figure is written beside it, with .png.",
)
@click.option("--csv", "table", type=click.Path(path_type=Path), help="Write the table there, too.")
@click.option(
    "--size",
    type=click.IntRange(min=1),
    help="Replicas of a repetition, and columns of the table, one for each budget (default: 3, or all).",
)
@click.option(
    "--budget",
    type=float,
    help="Steps of one budget (default: those of a run that gives one member, else of the longest run).",
)
@click.option("--force", is_flag=True, help="Overwrite existing files.")
@click.option("--threads", type=click.IntRange(min=1), help="Processors to use (default: all).")
@click.option("--quiet", "-q", is_flag=True, help="No progress bar, no table.")
def ensemble(
    files: tuple[Path, ...],
    output: Path,
    table: Path | None,
    size: int | None,
    budget: float | None,
    force: bool,
    threads: int | None,
    quiet: bool,
) -> None:
    """Average the predictions of stored networks: each of FILES is a method, such as ind.nc, sse.nc, fge.nc.

    Members of a run whose learning rate goes through cycles are the snapshots that it collected; of any other
    run each replica is one. One table of test errors at 1, 2, 3 budgets, one result file, one figure.
    """
    from langevin.ensembling import command

    said = command.carry_out(
        files,
        output,
        table,
        size=size,
        budget=budget,
        force=force,
        threads=threads,
        quiet=quiet,
    )
    if said:
        click.echo(said)
