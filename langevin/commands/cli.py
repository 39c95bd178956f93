"""The `langevin` command. Heavy imports stay inside the commands: help answers at once."""

from __future__ import annotations

import functools
import sys
import types
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from langevin.errors import (
    ConfigError,
    Interrupted,
    LangevinError,
    LangevinWarning,
    explanation,
    shortened,
)
from langevin.machine import streams
from langevin.machine.transliteration import plain_toml, visible
from langevin.version import __version__

from .landscape import connect, ensemble
from .options import (
    at_option,
    conclude,
    overrides,
    overrides_option,
    remark,
    running_options,
    trust_option,
    wall_time_option,
)
from .plane import plane


class Group(click.Group):
    """A group of commands that says an error in one line and exits with its code."""

    def main(self, *args: Any, **extra: Any) -> Any:
        """Prepare what is written to, and go on as click does."""
        if extra.get("standalone_mode", True):
            streams.prepare()
        try:
            return super().main(*args, **extra)
        except streams.OutputError as error:
            # Help, which click writes before any command runs.
            _say(str(error))
            sys.exit(error.exit_code)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; with --debug errors keep their traceback."""
        try:
            if ctx.params.get("debug"):
                return super().invoke(ctx)
            return self._invoke(ctx)
        except Interrupted as error:
            _say(str(error))
            ctx.exit(error.exit_code)
        except KeyboardInterrupt:
            # Where nothing has to be saved, or at the second one.
            _say("stopped by Ctrl-C")
            ctx.exit(Interrupted.exit_code)

    def _invoke(self, ctx: click.Context) -> Any:
        sys.excepthook = _one_line
        try:
            with warnings.catch_warnings():
                warnings.showwarning = functools.partial(_warn, warnings.showwarning)
                return super().invoke(ctx)
        except ConfigError as error:
            _say(str(error), lines=True)
            ctx.exit(error.exit_code)
        except LangevinError as error:
            _say(str(error))
            ctx.exit(error.exit_code)
        except MemoryError as error:
            _say(f"not enough memory ({error}): fewer replicas, or a smaller system")
            ctx.exit(1)
        except BrokenPipeError:
            raise
        except OSError as error:
            _say(explanation(error))
            ctx.exit(1)
        except UnicodeEncodeError as error:
            if error.encoding != sys.getfilesystemencoding():
                raise
            _say(
                f"{error.object}: file names have the encoding {error.encoding} here, which lacks some of "
                "its characters; allowed: a locale with UTF-8, such as LC_ALL=C.UTF-8"
            )
            ctx.exit(2)


def _say(text: str, lines: bool = False) -> None:
    """Say what went wrong, in one line unless it has lines of its own: names and values may hold anything."""
    said = "\n".join(map(visible, text.split("\n"))) if lines else visible(text)
    click.echo(f"langevin: {said}", err=True)


def _warn(otherwise: Callable[..., None], message: Warning | str, *where: Any, **further: Any) -> None:
    """Say a warning of ours in one line; others as they are."""
    if isinstance(message, LangevinWarning):
        _say(f"warning: {message}")
    else:
        otherwise(message, *where, **further)


def _one_line(kind: type[BaseException], error: BaseException, traceback: types.TracebackType | None) -> None:
    """Say what nobody foresaw in one line, too."""
    said = shortened(" ".join(str(error).split()), 1000)
    _say(f"unexpected {kind.__name__}: {said} (langevin --debug … shows where)")


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="langevin")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def main(debug: bool) -> None:
    """Simulate glasses and deep networks with one Langevin engine.

    A run file goes in, a netCDF file with energies and two-time correlations comes out.
    """


@main.command()
@click.argument("run_file", type=click.Path(path_type=Path))
@overrides_option
@click.option("--force", is_flag=True, help="Overwrite an existing result; discard an unfinished run.")
@click.option(
    "--resume",
    is_flag=True,
    help="Go on with an unfinished run of these settings; leave a complete one alone.",
)
@wall_time_option
@running_options
@trust_option
def run(
    run_file: Path,
    assignments: tuple[str, ...],
    force: bool,
    resume: bool,
    wall_time: str | None,
    threads: int | None,
    quiet: bool,
) -> None:
    """Run the simulation that RUN_FILE describes; with [sweep] in it, every member of the sweep."""
    from langevin.config import run_files
    from langevin.files.paths import Paths
    from langevin.running import unfinished
    from langevin.sweep import simulation

    settings = run_files.load(run_file, overrides(assignments))
    paths = Paths(Path(settings.output.path))
    if resume and not force and unfinished.found(settings, paths) == "complete":
        if settings.output.figure and not paths.figure.exists():
            # It was stopped when only that was left.
            conclude(paths.result, quiet=True)
        if not quiet:
            click.echo(f"{paths.result} is complete")
        return
    remark(settings, quiet)
    path = simulation.execute(
        settings, force=force, resume=resume, threads=threads, wall_time=wall_time, progress=not quiet
    )
    conclude(path, quiet)


@main.command()
@click.argument("file", type=click.Path(path_type=Path))
@wall_time_option
@running_options
@trust_option
def resume(file: Path, wall_time: str | None, threads: int | None, quiet: bool) -> None:
    """Continue a stopped or killed run. FILE: the result it was to write, or its checkpoint."""
    from langevin.sweep import simulation

    path = simulation.execute_resume(file, threads=threads, wall_time=wall_time, progress=not quiet)
    conclude(path, quiet)


@main.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path),
    help="Figure file (.png, .pdf, .svg); default: FILE with .png.",
)
@click.option(
    "--quantity",
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
def plot(
    file: Path, output: Path | None, quantity: str | None, threshold: float | None, at: tuple[str, ...]
) -> None:
    """Draw energy and two-time curves of a result FILE (or of a checkpoint, while the run goes on).

    Of a sweep, curves of all members and their final energies; with --at, one member as any other result.
    """
    from langevin import plotting
    from langevin.results.members import select
    from langevin.sweep import simulation

    with simulation.open(file) as dataset:
        path = output or file.with_suffix(".png")
        click.echo(plotting.save(select(dataset, at), path, quantity, threshold))


@main.command()
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path),
    help="Figure file (.png, .pdf, .svg); default: beside the first file, named A-B.png.",
)
@click.option("--csv", "table", type=click.Path(path_type=Path), help="Write every compared point there.")
@click.option("--quantity", help="Two-time observable to compare, besides energies.  [default: msd]")
@click.option(
    "--match",
    default=1.1,
    show_default=True,
    help="Pair waiting times that differ by no more than this factor.",
)
@click.option(
    "--extrapolate",
    is_flag=True,
    help="Extrapolate files that differ in system.n, or in dynamics.dt, too, to N → ∞ (and dt → 0); the one "
    "without system.n is the reference A.",
)
@click.option(
    "--order", type=click.IntRange(1, 4), help="Order in 1/N (default: 2 from four sizes on, else 1)."
)
@click.option("--force", is_flag=True, help="Overwrite an existing figure or table.")
def compare(
    files: tuple[Path, ...],
    output: Path | None,
    table: Path | None,
    quantity: str | None,
    match: float,
    extrapolate: bool,
    order: int | None,
    force: bool,
) -> None:
    """Compare results: the first of FILES is the reference A, each other one is a B.

    One figure and one table of energies and msd on common times, with the difference B − A in units of its
    standard error. Any two files of the schema will do, whatever system wrote them.
    """
    from langevin.analysis.compare import command

    click.echo(
        command.carry_out(
            files,
            output,
            table,
            quantity=quantity,
            match=match,
            limit=extrapolate,
            order=order,
            force=force,
        )
    )


@main.command()
@click.argument("file", type=click.Path(path_type=Path))
@at_option
def info(file: Path, at: tuple[str, ...]) -> None:
    """Say what is in a result FILE, and where it comes from."""
    from langevin.files.storage import open_result
    from langevin.results import summary
    from langevin.results.members import select

    with open_result(file) as dataset:
        click.echo(summary.contents(select(dataset, at)))


@main.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--output", "-o", type=click.Path(path_type=Path), help="File to write (.gsd); default: FILE with .gsd."
)
@click.option("--replica", default=0, show_default=True, help="Label of the replica.")
@click.option("--every", default=1, show_default=True, help="Write the first of each so many stored times.")
@at_option
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
def export(
    file: Path, output: Path | None, replica: int, every: int, at: tuple[str, ...], force: bool
) -> None:
    """Write stored configurations of particles in FILE as GSD, which OVITO and HOOMD-blue open."""
    from langevin.results import export as exporting
    from langevin.results.members import select
    from langevin.sweep import simulation

    with simulation.open(file) as dataset:
        path = output or file.with_suffix(".gsd")
        frames = exporting.save(select(dataset, at), path, replica=replica, every=every, force=force)
        click.echo(f"{path} ({frames} frames)")


@main.command()
@click.argument("run_file", type=click.Path(path_type=Path))
@overrides_option
@trust_option
def validate(run_file: Path, assignments: tuple[str, ...]) -> None:
    """Check RUN_FILE without running it; report every fault, and what code of yours it imports."""
    from langevin.code import user_code
    from langevin.config import run_files
    from langevin.files.paths import Paths

    settings = run_files.load(run_file, overrides(assignments))
    Paths(Path(settings.output.path)).check(force=True)
    click.echo(f"{run_file}: valid ({settings.size}){user_code.imports(settings.code)}")


@main.command()
@click.argument("name", required=False)
def systems(name: str | None) -> None:
    """List the systems; with NAME, its parameters with defaults, units and meaning."""
    from langevin.config import registry
    from langevin.config.sections import SECTIONS

    if name is not None:
        _print_parameters(registry.load(name, Path.cwd()))
        return
    for known in sorted(registry.names()):
        summary = (registry.load(known).__doc__ or "").strip().partition("\n")[0]
        click.echo(f"{known:12} {summary}")
    click.echo('\nYour own class: name = "package.module:Class" in the run file (ARCHITECTURE.md).')
    sections = ", ".join(name for name in SECTIONS if name != "data")
    click.echo(
        f"Systems have sections {sections} (networks: data, too): `langevin systems NAME` shows their keys."
    )


def _print_parameters(system_class: type[Any]) -> None:
    from langevin.config import keys, validate

    click.echo((system_class.__doc__ or "").strip() + "\n")
    for table, kind in validate.tables(system_class, Path.cwd()):
        click.echo(f"[{table}]")
        if table == "data":
            click.echo(f"  name (default: {keys.toml(system_class.data)})\n      see `langevin data list`")
        for line in keys.explain(kind):
            click.echo(line)


@main.command()
@click.argument("system")
def init(system: str) -> None:
    """Print a commented run file for SYSTEM; it is valid as it stands, or says what is to be filled in."""
    from langevin.config import templates

    text = templates.template(system)
    # What is written to a file must be a run file there, and those are UTF-8.
    click.echo(text if streams.speaks_unicode() else plain_toml(text), nl=False)


@main.group()
def data() -> None:
    """List the data sets that networks learn from; get them."""


@data.command("list")
@click.argument("name", required=False)
def list_data(name: str | None) -> None:
    """List the data sets; with NAME, its keys with defaults and meaning."""
    from . import data as data_command

    click.echo(data_command.listing() if name is None else data_command.explanation(name))


@data.command()
@click.argument("name")
@click.option(
    "--directory",
    type=click.Path(file_okay=False, path_type=Path),
    help="Keep the files in DIRECTORY/NAME (default: where they are found, else the cache).",
)
def fetch(name: str, directory: Path | None) -> None:
    """Download the data set NAME, unless it is here; check its hashes; print where its files are."""
    from . import data as data_command

    click.echo(data_command.fetched(name, directory))


for command in (connect, ensemble, plane):
    main.add_command(command)
