"""These commands begin with a run file, or end with one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from . import completion
from .options import (
    FILE,
    carrier,
    conclude,
    examples,
    executor_options,
    overrides,
    overrides_option,
    remark,
    running_options,
    shards_option,
    together,
    trust_option,
    wall_time_option,
)


@click.command(
    epilog=examples(
        "langevin run runs/pspin.toml",
        "langevin run runs/pspin.toml --set dynamics.t_max=5 --set ensemble.replicas=2 -o short.nc",
        "langevin run runs/pspin.toml --set record.lags=unset",
        "langevin run runs/pspin.toml --resume --wall-time 23h50m",
        "langevin run runs/mlp.toml --track tensorboard",
    )
)
@click.argument("run_file", type=FILE)
@overrides_option
@click.option(
    "--output",
    "-o",
    type=FILE,
    help="Result file (.nc), in place of output.path; the figure is drawn beside it.  [default: that of the "
    "run file, or its name, here]",
)
@click.option(
    "--track",
    metavar="TRACKER",
    shell_complete=completion.trackers,
    help="Tell a tracker of one-time observables, such as the loss, while it runs, in place of output.track: "
    "tensorboard, or your own MODULE:FUNCTION.",
)
@click.option("--force", is_flag=True, help="Overwrite an existing result; discard an unfinished run.")
@click.option(
    "--resume",
    is_flag=True,
    help="Go on with an unfinished run of these settings; leave a complete one alone.",
)
@wall_time_option
@executor_options
@shards_option
@running_options
@trust_option
@together
def run(
    run_file: Path,
    assignments: tuple[str, ...],
    output: Path | None,
    track: str | None,
    force: bool,
    resume: bool,
    wall_time: str | None,
    executor: str | None,
    scheduler: str | None,
    cluster: Path | None,
    shards: int | None,
    threads: int | None,
    quiet: bool,
) -> None:
    """Run the simulation that RUN_FILE describes; with [sweep] in it, every member of the sweep."""
    from langevin.machine import world
    from langevin.machine.ahead import LoadingAhead, collect_to_the_end, settle, uncollected

    from .draughtsman import at_hand, wanted

    draughtsman = None
    # Those that torchrun has started have a processor each.
    if world.current() is None and wanted(run_file, assignments):
        # At once: it loads what it needs while this process does.
        draughtsman = click.get_current_context().with_resource(at_hand(threads))
    with uncollected():
        from langevin.config import run_files
        from langevin.files.paths import Paths
        from langevin.running import unfinished
        from langevin.running.together import follow
        from langevin.sweep import simulation

        settle()
    settings = run_files.load(run_file, overrides(assignments, shards, output, track))
    if settings.code:
        # Nobody knows what code of the user's leaves to be given up.
        collect_to_the_end()
    if world.following():
        follow(settings, threads)
        return
    paths = Paths(Path(settings.output.path))
    if resume and not force and unfinished.standing(settings, paths) == "complete":
        if settings.output.figure and not paths.figure.exists():
            # It was stopped when only that was left.
            conclude(paths.result, quiet=True)
        if not quiet:
            click.echo(f"{paths.result} is complete")
        return
    remark(settings, quiet)
    how: Any = {"threads": threads, "wall_time": wall_time, "progress": not quiet}
    how["carrier"] = carrier(executor, scheduler, cluster, threads)
    if settings.sweep is None and settings.output.figure:
        modules = [] if draughtsman else ["langevin.plotting"]
        how["watch"] = LoadingAhead(*modules, "langevin.results.summary")
    path = simulation.execute(settings, force=force, resume=resume, **how)
    conclude(path, quiet, draughtsman)


@click.command(epilog=examples("langevin resume pspin.nc", "langevin resume pspin.nc --wall-time 50m"))
@click.argument("file", type=FILE)
@wall_time_option
@executor_options
@running_options
@trust_option
@together
def resume(
    file: Path,
    wall_time: str | None,
    executor: str | None,
    scheduler: str | None,
    cluster: Path | None,
    threads: int | None,
    quiet: bool,
) -> None:
    """Continue a stopped or killed run. FILE: the result it was to write, or its checkpoint."""
    from langevin.machine import world
    from langevin.running.together import follow
    from langevin.sweep import simulation

    if world.following():
        follow(threads=threads)
        return
    how: Any = {"threads": threads, "wall_time": wall_time, "progress": not quiet}
    how["carrier"] = carrier(executor, scheduler, cluster, threads)
    path = simulation.execute_resume(file, **how)
    conclude(path, quiet)


@click.command(
    epilog=examples(
        "langevin validate runs/pspin.toml",
        "langevin validate runs/pspin.toml --set dynamics.dt=0.01",
        "langevin validate runs/pspin.toml --forecast",
    )
)
@click.argument("run_file", type=FILE)
@overrides_option
@click.option(
    "--forecast",
    is_flag=True,
    help="Compute the beginning, for some ten seconds, and say how long all of it would take here; nothing "
    "is kept of it.",
)
@trust_option
def validate(run_file: Path, assignments: tuple[str, ...], forecast: bool) -> None:
    """Check RUN_FILE without running it; report every fault, and what code of yours it imports."""
    from langevin.code import user_code
    from langevin.config import run_files
    from langevin.files.paths import Paths

    settings = run_files.load(run_file, overrides(assignments))
    Paths(Path(settings.output.path)).check(force=True)
    remark(settings, quiet=False)
    click.echo(f"{run_file}: valid ({settings.size}){user_code.imports(settings.code)}")
    if forecast:
        from langevin.running import forecast as forecasts

        click.echo(f"{run_file}: {forecasts.forecast(settings)}")


@click.command(epilog=examples("langevin systems", "langevin systems pspin", "langevin systems mine:Wells"))
@click.argument("name", required=False, shell_complete=completion.systems)
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


@click.command(epilog=examples("langevin init pspin > quench.toml", "langevin init resnet18 > net.toml"))
@click.argument("system", shell_complete=completion.systems)
def init(system: str) -> None:
    """Print a commented run file for SYSTEM; it is valid as it stands, or says what is to be filled in."""
    from langevin.config import templates
    from langevin.machine import streams
    from langevin.machine.transliteration import plain_toml

    text = templates.template(system)
    # What is written to a file must be a run file there, and those are UTF-8.
    click.echo(text if streams.speaks_unicode() else plain_toml(text), nl=False)


@click.command(
    epilog=examples(
        "langevin schema > langevin.schema.json",
        "langevin schema mine:Wells > langevin.schema.json",
    )
)
@click.argument("own", nargs=-1, metavar="[MODULE:CLASS]...")
def schema(own: tuple[str, ...]) -> None:
    """Print the JSON Schema of run files, by which editors complete keys, explain them, and mark mistakes.

    It knows the keys of all systems and data sets; with MODULE:CLASS, those of a system of yours, too. A run
    file names it in its first line, "#:schema ./langevin.schema.json", as `langevin init` does.
    """
    import json

    from langevin.config import schema as schemas

    click.echo(json.dumps(schemas.schema(own, Path.cwd()), indent=1, allow_nan=False))
