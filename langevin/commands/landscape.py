"""Three commands look at the landscape between and around stored configurations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from .options import (
    FILE,
    conclude,
    csv_option,
    examples,
    force_option,
    overrides,
    overrides_option,
    remark,
    running_options,
    trust_option,
)


@click.command(
    epilog=examples(
        "langevin connect a.nc b.nc --curve bezier",
        "langevin connect fashion_ind.nc --curve chain --bends 3",
    )
)
@click.argument("start", type=FILE)
@click.argument("end", required=False, type=FILE)
@click.option(
    "--curve",
    type=click.Choice(["bezier", "chain", "band"]),
    default="bezier",
    help="Bezier curve, polygonal chain, or nudged elastic band.",
)
@click.option("--bends", default=1, type=click.IntRange(min=1), help="Points in between.")
@click.option(
    "--loss",
    type=click.Choice(["uniform_t", "uniform_length"]),
    default="uniform_t",
    help="What the mean loss of the curve is uniform in.",
)
@click.option("--time", type=float, help="Stored time of the ends (default: the last).")
@click.option("--align", is_flag=True, help="Of networks: permute the units of END to fit those of START.")
@click.option("--output", "-o", type=FILE, help="Result file (default: START-END-CURVE.nc, here).")
@overrides_option
@click.option("--force", is_flag=True, help="Overwrite an existing result; discard an unfinished run.")
@running_options
@trust_option
def connect(
    start: Path,
    end: Path | None,
    assignments: tuple[str, ...],
    force: bool,
    threads: int | None,
    quiet: bool,
    **given: Any,
) -> None:
    """Join configurations of two finished runs by curves along which the energy is low.

    START and END are results of one system with stored configurations (record.snapshots); replica k of one
    is joined with replica k of the other. Without END, replicas of each sample in START are joined in pairs.
    It is a run like any other: the same from a run file with system.name = "curve" or "network_curve".
    """
    from langevin.analysis import connect as connecting
    from langevin.sweep import simulation

    settings = connecting.settings(start, end, overrides=overrides(assignments), **given)
    remark(settings, quiet)
    path = simulation.execute(settings, force=force, threads=threads, progress=not quiet)
    conclude(path, quiet)


@click.command(
    epilog=examples(
        "langevin ensemble ind.nc sse.nc fge.nc",
        "langevin ensemble ind.nc --size 5 --csv errors.csv",
    )
)
@click.argument("files", nargs=-1, type=FILE)
@click.option(
    "--output",
    "-o",
    type=FILE,
    default=Path("ensembles.nc"),
    help="Result file; the figure is written beside it, with .png.",
)
@csv_option
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
@force_option
@running_options
@trust_option
def ensemble(files: tuple[Path, ...], output: Path, csv: Path | None, quiet: bool, **given: Any) -> None:
    """Average the predictions of stored networks: each of FILES is a method, such as ind.nc, sse.nc, fge.nc.

    Members of a run whose learning rate goes through cycles are the snapshots that it collected; of any other
    run each replica is one. One table of test errors at 1, 2, 3 budgets, one result file, one figure.
    """
    from langevin import api
    from langevin.analysis.ensemble import command
    from langevin.analysis.shell import reported
    from langevin.results import summary

    dataset = api.ensemble(*files, output=output, csv=csv, progress=not quiet, **given)
    if not quiet:
        click.echo(reported(summary.results(dataset), command.outputs(output, csv)))


@click.command(
    epilog=examples(
        "langevin plane a.nc b.nc c.nc",
        "langevin plane fashion_ind-bezier.nc --grid 41",
        "langevin plane pspin.nc --random --extent 0.5",
    )
)
@click.argument("files", nargs=-1, type=FILE)
@click.option("--principal", type=FILE, help="In place of FILES: principal components of this trajectory.")
@click.option("--random", is_flag=True, help="Two random directions from one configuration, that of FILES.")
@click.option(
    "--normalise",
    type=click.Choice(["filter", "layer", "none"]),
    default="filter",
    help="Of random directions: what is as long as in the configuration itself.",
)
@click.option("--seed", type=click.IntRange(0), default=0, help="Of random directions.")
@click.option(
    "--extent",
    type=click.FloatRange(0, min_open=True),
    default=1.0,
    help="Of the grid along random directions, which are as long as the configuration.",
)
@click.option("--replica", default=0, help="Label of the replica, of every file.")
@click.option(
    "--replicas",
    metavar="K,L,M",
    help="Labels of the replicas of the three points, which may come from one file "
    "(default: those of --replica; of one file, its first three).",
)
@click.option("--time", type=float, help="Time of the configurations (default: the last stored).")
@click.option("--trajectory", multiple=True, type=FILE, help="Project this run onto it.")
@click.option("--curve", multiple=True, type=FILE, help="Project this curve onto it.")
@click.option("--grid", type=click.IntRange(2), default=21, help="Points along each axis.")
@click.option(
    "--margin",
    type=click.FloatRange(min=0),
    default=0.2,
    help="Of the grid around the points, as a part of their extent.",
)
@click.option("--cover", is_flag=True, help="Let the grid hold curves and trajectories, too.")
@click.option(
    "--output", "-o", type=FILE, default=Path("plane.nc"), help="Result file; the figure is drawn beside it."
)
@force_option
@running_options
@trust_option
def plane(files: tuple[Path, ...], output: Path, quiet: bool, **given: Any) -> None:
    """Evaluate the plane through three stored configurations.

    FILES: three results; one result with three replicas or more; a curve of one bend; or, with --random, one
    result. Energy (of networks loss and error on training and test set) on a grid of the plane, and contours
    of them as a figure.
    """
    from langevin import api
    from langevin.analysis.plane import command
    from langevin.analysis.shell import reported
    from langevin.results import summary

    dataset = api.plane(*files, output=output, progress=not quiet, **given)
    if not quiet:
        click.echo(reported(summary.results(dataset), command.outputs(output)))
