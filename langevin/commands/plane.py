"""The command `langevin plane`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from .options import running_options, trust_option

_FILE = click.Path(path_type=Path)


@click.command()
@click.argument("files", nargs=-1, type=_FILE)
@click.option("--principal", type=_FILE, help="In place of FILES: principal components of this trajectory.")
@click.option("--random", is_flag=True, help="Two random directions from one configuration, that of FILES.")
@click.option(
    "--normalise",
    type=click.Choice(["filter", "layer", "none"]),
    default="filter",
    show_default=True,
    help="Of random directions: what is as long as in the configuration itself.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of random directions.")
@click.option(
    "--extent",
    type=click.FloatRange(0, min_open=True),
    default=1.0,
    show_default=True,
    help="Of the grid along random directions, which are as long as the configuration.",
)
@click.option("--replica", default=0, show_default=True, help="Label of the replica, of every file.")
@click.option(
    "--replicas",
    metavar="K,L,M",
    help="Labels of the replicas of the three points, which may come from one file "
    "(default: those of --replica; of one file, its first three).",
)
@click.option("--time", type=float, help="Time of the configurations (default: the last stored).")
@click.option("--trajectory", "trajectories", multiple=True, type=_FILE, help="Project this run onto it.")
@click.option("--curve", "curves", multiple=True, type=_FILE, help="Project this curve onto it.")
@click.option("--grid", type=click.IntRange(2), default=21, show_default=True, help="Points along each axis.")
@click.option(
    "--margin",
    type=click.FloatRange(min=0),
    default=0.2,
    show_default=True,
    help="Of the grid around the points, as a part of their extent.",
)
@click.option("--cover", is_flag=True, help="Let the grid hold curves and trajectories, too.")
@click.option(
    "--output",
    "-o",
    type=_FILE,
    default=Path("plane.nc"),
    show_default=True,
    help="Result file; the figure is drawn beside it.",
)
@click.option("--force", is_flag=True, help="Overwrite an existing result and its figure.")
@running_options
@trust_option
def plane(**given: Any) -> None:
    """Evaluate the plane through three stored configurations.

    FILES: three results; one result with three replicas or more; a curve of one bend; or, with --random, one
    result. Energy (of networks
    loss and error on training and test set) on a grid of the plane, and contours of them as a figure.
    """
    from langevin.analysis.plane import command

    click.echo(command.carry_out(command.Request(**given)), nl=False)
