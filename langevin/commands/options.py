"""Several commands share options, and the way they end."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from langevin.errors import UserError

from . import completion

if TYPE_CHECKING:
    from langevin.config.settings import Settings
    from langevin.sweep.executors.base import Executor

    from .draughtsman import Draughtsman

#: A path that a command takes.
FILE = click.Path(path_type=Path)


def examples(*lines: str) -> str:
    """Return what stands at the end of the help of a command: lines that can be typed as they are."""
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)])


force_option = click.option("--force", is_flag=True, help="Overwrite existing files.")
csv_option = click.option("--csv", type=FILE, help="Write the table there, too, in full precision.")
overrides_option = click.option(
    "--set",
    "assignments",
    multiple=True,
    metavar="SECTION.KEY=VALUE",
    shell_complete=completion.assignments,
    help="Override one key of the run file (of connect: of the one that it makes); SECTION.KEY=unset removes "
    "it. What lies beyond a nearer dynamics.t_max, and samples above fewer replicas, are left out.",
)
wall_time_option = click.option(
    "--wall-time",
    metavar="TIME",
    help="Write a checkpoint and stop after this: seconds, or 50m, 23h50m, 1d2h, 01:30:00, 1-12:00:00.",
)
width_option = click.option(
    "--width",
    metavar="column|page|slide",
    help="What the figure is printed on: 3.4, 7 or 10 inches (default: a page, of a single panel a column).",
)
style_option = click.option(
    "--style",
    metavar="FILE|NAME",
    help="A file of matplotlib's settings (.mplstyle), or a style that matplotlib knows by name.",
)
at_option = click.option(
    "--at",
    multiple=True,
    metavar="NAME=VALUE",
    help="Of a sweep, only members with this value, for instance temperature=0.5 or widths=7,7,7.",
)


def executor_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --executor, --scheduler and --cluster to a command."""
    for option in (
        click.option(
            "--cluster",
            type=FILE,
            metavar="FILE",
            help="Carry out members or shards in jobs of a queue, as the table [cluster] of this file says.",
        ),
        click.option(
            "--scheduler",
            metavar="ADDRESS",
            help="Carry out members or shards in workers of this scheduler of Dask, such as tcp://host:8786.",
        ),
        click.option(
            "--executor",
            shell_complete=completion.executors,
            help="What carries out members or shards: processes (default), in_process, dask, or another's.",
        ),
    ):
        command = option(command)
    return command


def executor_of(
    name: str | None, scheduler: str | None, cluster: Path | None, threads: int | None
) -> str | Executor | None:
    """Return what --executor, --scheduler and --cluster name together."""
    if scheduler is None and cluster is None:
        return name
    given = "--scheduler" if scheduler is not None else "--cluster"
    if scheduler is not None and cluster is not None:
        raise UserError("--scheduler joins workers that are there, --cluster asks a queue for them: give one")
    if name not in (None, "dask"):
        raise UserError(f"--executor {name}: allowed with {given}: dask")
    from langevin.sweep.executors.cluster import keys
    from langevin.sweep.executors.cluster.executor import DaskExecutor

    if scheduler is not None:
        return DaskExecutor(threads, scheduler=scheduler)
    assert cluster is not None
    return DaskExecutor(threads, cluster=keys.read(cluster))


shards_option = click.option(
    "--shards",
    type=click.IntRange(min=1),
    help="Cut the replicas into so many parts, each a job (of a sweep: of every member); the result is that "
    "of one run. In place of ensemble.shards.",
)


def running_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --threads and --quiet to a command."""
    for option in (
        click.option("--quiet", "-q", is_flag=True, help="No progress bar, no summary."),
        click.option(
            "--threads",
            type=click.IntRange(min=1),
            help="Processors to use (default: all). Results do not depend on it.",
        ),
    ):
        command = option(command)
    return command


def trust_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --trust to a command, and take it for given while the command runs; stands next to its function."""

    @functools.wraps(command)
    def carried_out(*arguments: Any, trust: bool, **keywords: Any) -> Any:
        from langevin.code.trust import trusting

        with trusting(trust):
            return command(*arguments, **keywords)

    return click.option(
        "--trust",
        is_flag=True,
        help="Run code that a result or checkpoint names, even if you have not run it before or it has "
        "changed since, and remember it.",
    )(carried_out)


def together(command: Callable[..., Any]) -> Callable[..., Any]:
    """Let a command work together with those that torchrun has started with it, if it has."""

    @functools.wraps(command)
    def carried_out(*arguments: Any, **keywords: Any) -> Any:
        from langevin.machine import world

        with world.joined():
            return command(*arguments, **keywords)

    return carried_out


def carrier(executor: str | None, scheduler: str | None, cluster: Path | None, threads: int | None) -> Any:
    """Return what carries out runs: in this process, or leading those of torchrun."""
    from langevin.machine import world
    from langevin.running.together import Leader
    from langevin.sweep import simulation

    processes = world.current()
    chosen = executor_of(executor, scheduler, cluster, threads)
    if processes is None:
        return simulation.RunOrSweep(chosen)
    if chosen not in (None, "in_process"):
        raise UserError(
            "torchrun: its processes carry one run; allowed: no --executor, --scheduler, --cluster"
        )
    return Leader(processes)


def overrides(
    assignments: tuple[str, ...],
    shards: int | None = None,
    output: Path | None = None,
    track: str | None = None,
) -> dict[str, Any]:
    """Return what --set, --shards, --output and --track were given: "section.key" → value."""
    from langevin.config.toml_text import parse_assignment

    given = dict(parse_assignment(a) for a in assignments)
    if output is not None and "output.path" in given:
        raise UserError(f"--output {output}: --set output.path says it, too: give one of them")
    path = None if output is None else str(output)
    further = {"ensemble.shards": shards, "output.path": path, "output.track": track}
    return given | {key: value for key, value in further.items() if value is not None}


def remark(settings: Settings, quiet: bool) -> None:
    """Say what is allowed and perhaps not meant, and what overrides have left out."""
    if settings.left_out and not quiet:
        click.echo(f"langevin: note: {settings.left_out}", err=True)
    members = (settings,) if settings.sweep is None else settings.sweep.members
    for dealt, member in {m.dealt: m for m in members}.items():
        if dealt and not quiet:
            click.echo(f"langevin: note: {member.ensemble.replicas} replicas{dealt}", err=True)


def conclude(path: Path, quiet: bool, draughtsman: Draughtsman | None = None) -> None:
    """Draw the figure, if the run file wants it, and print the summary of a finished run.

    With a draughtsman both happen at the same time.
    """
    import json

    from langevin.machine.ahead import uncollected

    with uncollected():
        from langevin.results.open import open_result

    with open_result(path) as dataset:
        wanted = json.loads(dataset.attrs["settings"]).get("output", {}).get("figure", True)
        figure = path.with_suffix(".png")
        if wanted and draughtsman is not None:
            draughtsman.begin(path, figure)
        with uncollected():
            from langevin.results import summary

            said = [] if quiet else [summary.results(dataset)]
        if wanted and not (draughtsman is not None and draughtsman.has_drawn()):
            with uncollected():
                from langevin import plotting

                # The run's own figure: it was asked before the run whether it may be replaced.
                plotting.save(dataset, figure)
        if not quiet:
            said += [f"result  {path}"] + [f"figure  {figure}"] * wanted
            click.echo("\n".join(said))
