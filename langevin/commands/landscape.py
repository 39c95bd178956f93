"""Commands that look at the landscape between and around stored configurations."""

from __future__ import annotations

from pathlib import Path

import click

from .options import conclude, overrides, overrides_option, running_options, trust_option


@click.command()
@click.argument("start", type=click.Path(path_type=Path))
@click.argument("end", required=False, type=click.Path(path_type=Path))
@click.option(
    "--curve",
    type=click.Choice(["bezier", "chain", "band"]),
    default="bezier",
    show_default=True,
    help="Bezier curve, polygonal chain, or nudged elastic band.",
)
@click.option("--bends", default=1, show_default=True, type=click.IntRange(min=1), help="Points in between.")
@click.option(
    "--loss",
    type=click.Choice(["uniform_t", "uniform_length"]),
    default="uniform_t",
    show_default=True,
    help="What the mean loss of the curve is uniform in.",
)
@click.option("--time", type=float, help="Stored time of the ends (default: the last).")
@click.option(
    "--output", "-o", type=click.Path(path_type=Path), help="Result file (default: START-END-CURVE.nc, here)."
)
@overrides_option
@click.option("--force", is_flag=True, help="Overwrite an existing result; discard an unfinished run.")
@running_options
@trust_option
def connect(
    start: Path,
    end: Path | None,
    curve: str,
    bends: int,
    loss: str,
    time: float | None,
    output: Path | None,
    assignments: tuple[str, ...],
    force: bool,
    threads: int | None,
    quiet: bool,
) -> None:
    """Join configurations of two finished runs by curves along which the energy is low.

    START and END are results of one system with stored configurations (record.snapshots); replica k of one
    is joined with replica k of the other. Without END, replicas of each sample in START are joined in pairs.
    It is a run like any other: the same from a run file with system.name = "curve" or "network_curve".
    """
    from langevin.analysis import connect as connecting
    from langevin.sweep import simulation

    settings = connecting.settings(
        start,
        end,
        curve=curve,
        bends=bends,
        loss=loss,
        time=time,
        overrides=overrides(assignments),
        output=output,
    )
    path = simulation.execute(settings, force=force, threads=threads, progress=not quiet)
    conclude(path, quiet)


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
@running_options
@trust_option
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
    from langevin.analysis.ensemble import command

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
