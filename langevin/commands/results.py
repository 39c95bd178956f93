"""These commands read results: their content, their looks, their differences."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click

from . import completion
from .options import (
    FILE,
    at_option,
    csv_option,
    examples,
    force_option,
    style_option,
    width_option,
)


@click.command(
    epilog=examples(
        "langevin info pspin.nc",
        "langevin info pspin_temperatures.nc --at temperature=0.5",
    )
)
@click.argument("file", type=FILE)
@at_option
def info(file: Path, at: tuple[str, ...]) -> None:
    """Say what is in a result FILE, and where it comes from."""
    from langevin.results import summary
    from langevin.results.members import select
    from langevin.results.open import open_result

    with open_result(file) as dataset:
        click.echo(summary.contents(select(dataset, at)))


@click.command(
    epilog=examples(
        "langevin plot pspin.nc",
        "langevin plot pspin.nc --quantity correlation -o c.pdf",
        "langevin plot pspin.checkpoint.nc --force",
    )
)
@click.argument("file", type=FILE)
@click.option(
    "--output",
    "-o",
    type=FILE,
    help="Figure file (.png, .pdf, .svg); default: FILE with .png, or with -QUANTITY.png.",
)
@click.option(
    "--quantity",
    shell_complete=completion.quantities,
    help="Energy and this two-time observable (default: msd, and more panels where the file holds more), "
    "or a one-time observable, such as gradient_norm, alone; "
    "msd_over_noise: msd over the gradient noise, alone; aging: the times t* at which msd crosses a "
    "threshold, their power of the waiting time, and the collapse by it; hessian: spectra of the Hessian; "
    "fdt: response against correlation, along the lag and at fixed observation times; chi4: fluctuations "
    "between replicas; "
    "pair_correlation, self_scattering: of particles, by pairs of species and by wavenumbers.",
)
@click.option("--threshold", type=float, help="Of msd, for --quantity aging (default: found in FILE).")
@at_option
@width_option
@style_option
@click.option("--title", help="In place of that of FILE; '': none.")
@click.option(
    "--waiting-times",
    metavar="T,T,…",
    help="Those to draw, in the unit of FILE, as legends print them: 1,10,100 (default: all).",
)
@click.option(
    "--axis",
    "axes",
    multiple=True,
    metavar="[PANEL.]x|y=…",
    help="log, linear, or limits: x=log, y=1e-3:1, b.x=:100 of panel (b); may be repeated.",
)
@force_option
def plot(
    file: Path,
    output: Path | None,
    quantity: str | None,
    waiting_times: str | None,
    axes: tuple[str, ...],
    **given: Any,
) -> None:
    """Draw energy and two-time curves of a result FILE (or of a checkpoint, while the run goes on).

    Of a sweep, curves of all members and their final energies; with --at, one member as any other result.
    The figure has the size in which it is printed (--width), text of 7 to 9 points in a column or a page.
    """
    from langevin import api
    from langevin.plotting.view import parsed_axes, parsed_times

    if waiting_times is not None:
        given["waiting_times"] = parsed_times(waiting_times)
    given["axes"] = parsed_axes(axes)
    of = "" if quantity is None else "-" + re.sub(r"\W", "_", quantity)
    path = output or file.with_name(f"{file.stem}{of}.png")
    api.plot(file, quantity=quantity, output=path, **given)
    click.echo(path)


@click.command(
    epilog=examples(
        "langevin compare ck.nc pspin.nc",
        "langevin compare ck.nc n64.nc n96.nc n128.nc --extrapolate --csv limit.csv",
    )
)
@click.argument("files", nargs=-1, type=FILE)
@click.option(
    "--output",
    "-o",
    type=FILE,
    help="Figure file (.png, .pdf, .svg); default: beside the first file, named A-B.png.",
)
@csv_option
@click.option(
    "--quantity",
    shell_complete=completion.quantities,
    help="Two-time observable to compare, besides energies (default: msd). Of an overlay what to show, with "
    "commas between (default: energy,msd,correlation).",
)
@click.option("--match", default=1.1, help="Pair waiting times that differ by no more than this factor.")
@click.option(
    "--extrapolate",
    is_flag=True,
    help="Extrapolate files that differ in system.n, or in dynamics.dt, too, to N → ∞ (and dt → 0); the one "
    "without system.n is the reference A.",
)
@click.option(
    "--order", type=click.IntRange(1, 4), help="Order in 1/N (default: 2 from four sizes on, else 1)."
)
@click.option(
    "--overlay",
    is_flag=True,
    help="Lay all results over each other, also where they are of the same quantities; of a sweep all "
    "members.",
)
@click.option(
    "--scale",
    multiple=True,
    metavar="KEY=VALUE",
    help="By what an axis of an overlay is divided: time=measured|scaled|relaxation, "
    "lag=time|over_waiting_time, energy=measured|fraction, msd=measured|plateau|limit|at_waiting_time, "
    "correlation=measured|start.",
)
@click.option(
    "--at",
    multiple=True,
    metavar="NAME=VALUE",
    help="Of sweeps, the members with this value (FILE:NAME=VALUE: of one of them); several values are "
    "several members.",
)
@click.option("--label", multiple=True, metavar="WORDS", help="Name of a result, once for each, in order.")
@click.option(
    "--width",
    default="column",
    metavar="WIDTH",
    help="Of the figure of an overlay: column, page or slide.",
    show_default=True,
)
@force_option
def compare(files: tuple[Path, ...], output: Path | None, csv: Path | None, **given: Any) -> None:
    """Compare results, of whatever systems.

    Of the same quantities: one figure and one table of energies and msd on common times, with the difference
    B − A in units of its standard error; the first of FILES is A, each other one is a B. Of anything else, or
    with --overlay: the curves of all in one figure, each axis by a scale of its own. Sweeps are compared by
    their final energies, against the number that they sweep, or member by member with --at.
    """
    from langevin import api
    from langevin.analysis.compare import command
    from langevin.analysis.shell import check_inputs, reported

    check_inputs("compare", files, least=1 if given["at"] or given["overlay"] else 2)
    path = output or command.default_figure(files)
    found = api.compare(*files, output=path, csv=csv, **given)
    click.echo(reported(found.text() + "\n", command.outputs(path, csv)))


@click.command(
    epilog=examples(
        "langevin export kob_andersen.nc -o particles.gsd",
        "langevin export pspin.nc -o pspin.zarr",
    )
)
@click.argument("file", type=FILE)
@click.option(
    "--output", "-o", type=FILE, help="What to write: a .gsd, or a folder .zarr; default: FILE with .gsd."
)
@click.option("--replica", type=int, help="Label of the replica of a .gsd.  [default: 0]")
@click.option("--every", type=int, help="Of a .gsd, the first of each so many stored times.  [default: 1]")
@at_option
@force_option
def export(
    file: Path, output: Path | None, at: tuple[str, ...], force: bool, **of_frames: int | None
) -> None:
    """Write a result FILE as Zarr, or stored configurations of particles in it as GSD.

    \b
    .zarr  a folder of Zarr format 3 with all that is in FILE, for object stores and parallel reading;
           xarray.open_zarr and langevin.open read it
    .gsd   a trajectory that OVITO and HOOMD-blue open
    """
    from langevin.analysis import exporting

    click.echo(exporting.export(file, output or file.with_suffix(".gsd"), at, force, of_frames))
