"""These commands leave work to the queue of a cluster, and are called by its jobs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from .options import (
    FILE,
    conclude,
    examples,
    overrides,
    overrides_option,
    remark,
    shards_option,
    trust_option,
    wall_time_option,
)

_ONE = click.IntRange(min=1)


@click.command(
    epilog=examples(
        "langevin submit runs/pspin_temperatures.toml --slurm array --time 1-00:00:00 --mem 4G",
        "langevin submit runs/pspin.toml --slurm array --shards 8 --dry-run",
    )
)
@click.argument("run_file", type=FILE)
@overrides_option
@click.option(
    "--slurm",
    type=click.Choice(["array"]),
    required=True,
    help="As an array of jobs of Slurm, a task for each member or shard, and a last job that combines them.",
)
@shards_option
@click.option("--time", "limit", metavar="TIME", help="Time limit of a job, as sbatch reads it.")
@click.option("--partition", "-p", help="Partition.")
@click.option("--account", "-A", help="Account.")
@click.option("--cpus-per-task", "-c", "cpus", type=_ONE, default=1, help="Processors of a task.")
@click.option("--mem", help="Memory of a task, such as 4G.")
@click.option("--gres", help="Generic resources of a task, such as gpu:1.")
@click.option("--gpus", help="GPUs of a task.")
@click.option("--max-running", type=_ONE, help="Tasks that run at the same time, at most.")
@click.option("--per-task", type=_ONE, default=1, help="Members or shards that a task carries out in turn.")
@click.option(
    "--sbatch",
    "further",
    multiple=True,
    metavar="KEY[=VALUE]",
    help="Another option of sbatch, such as qos=long.",
)
@click.option(
    "--prologue",
    multiple=True,
    metavar="FILE|LINE",
    help="Shell before the command, such as 'module load python': a line, or a file of lines.",
)
@click.option(
    "--margin", default="30s", metavar="TIME", help="Time kept free before the limit for the last checkpoint."
)
@click.option("--dry-run", is_flag=True, help="Print the scripts; write and submit nothing.")
@click.option("--force", is_flag=True, help="Overwrite an existing result; discard an unfinished run.")
@click.option("--resume", is_flag=True, help="Submit what is left of an unfinished run of these settings.")
@trust_option
def submit(
    run_file: Path,
    assignments: tuple[str, ...],
    slurm: str,
    shards: int | None,
    dry_run: bool,
    force: bool,
    resume: bool,
    **asked: Any,
) -> None:
    """Leave RUN_FILE to a queue: a task for each member of its sweep, or shard."""
    from langevin.config import run_files
    from langevin.files.paths import Paths
    from langevin.running import execution
    from langevin.sweep import slurm as queue
    from langevin.sweep.units import Layout

    request = _request(**asked)
    settings = run_files.load(run_file, overrides(assignments, shards))
    remark(settings, quiet=False)
    paths = Paths(Path(settings.output.path))
    if dry_run:
        paths.check(force or resume)
        tasks = range(-(-len(Layout.of(settings, paths.sweep)) // request.per_task))
        click.echo(f"# {paths.queue / 'array.sh'}")
        click.echo(queue.array_script(paths, settings.title, tasks, request))
        click.echo(f"# {paths.queue / 'combine.sh'}, after it")
        click.echo(queue.combine_script(paths, settings.title, request, "JOB"), nl=False)
        return
    carrier = queue.Submission(request)
    execution.execute(settings, force=force, resume=resume, carrier=carrier)
    click.echo("\n".join(carrier.said) or f"{paths.result} is complete")


def _request(
    limit: str | None,
    partition: str | None,
    account: str | None,
    cpus: int,
    mem: str | None,
    gres: str | None,
    gpus: str | None,
    max_running: int | None,
    per_task: int,
    further: tuple[str, ...],
    prologue: tuple[str, ...],
    margin: str,
) -> Any:
    """Return what is asked of Slurm."""
    from langevin.machine.duration import seconds
    from langevin.sweep import slurm

    seconds(margin, "--margin")
    named = {"time": limit, "partition": partition, "account": account}
    named |= {"mem": mem, "gres": gres, "gpus": gpus}
    directives = {name: value for name, value in named.items() if value is not None}
    for one in further:
        name, _, value = one.removeprefix("--").partition("=")
        directives[name] = value
    lines = [line for one in prologue for line in _lines(one)]
    return slurm.Request(directives, cpus, per_task, max_running, lines, margin)


def _lines(given: str) -> list[str]:
    path = Path(given)
    try:
        return path.read_text().splitlines() if path.is_file() else [given]
    except OSError:
        # Too long for a name: it is a line.
        return [given]


@click.command(
    epilog=examples(
        "langevin member pspin_temperatures.nc 0 2-5 --wall-time 50m",
    )
)
@click.argument("file", type=FILE)
@click.argument("numbers", nargs=-1, required=True, metavar="NUMBER|FIRST-LAST…")
@wall_time_option
@click.option("--margin", default="0.001s", metavar="TIME", help="Part of the wall time that is kept free.")
@click.option("--threads", type=_ONE, default=1, help="Processors to use. Results do not depend on it.")
@click.option("--quiet", "-q", is_flag=True, help="No lines.")
@trust_option
def member(
    file: Path, numbers: tuple[str, ...], wall_time: str | None, margin: str, threads: int, quiet: bool
) -> None:
    """Carry out some members, or shards, of the unfinished FILE: what a task of `langevin submit` does.

    They are numbered from 0; the shards of a member stand together. Those that have ended are left alone.
    """
    from langevin.errors import UserError
    from langevin.files.paths import Paths
    from langevin.machine.duration import seconds
    from langevin.sweep import tasks

    paths = Paths(file)
    if not paths.sweeping:
        done = "is complete" if file.exists() else "has no folder of members: `langevin submit` makes it"
        if file.exists():
            click.echo(f"{file} {done}")
            return
        raise UserError(f"{file} {done}")
    left = None
    if wall_time is not None:
        given = seconds(wall_time, "--wall-time")
        left = max(given - seconds(margin, "--margin"), given / 2)
    tasks.carry_out(paths, numbers, threads, left, not quiet)


@click.command(
    epilog=examples(
        "langevin combine pspin_temperatures.nc",
    )
)
@click.argument("file", type=FILE)
@click.option("--quiet", "-q", is_flag=True, help="No summary.")
@trust_option
def combine(file: Path, quiet: bool) -> None:
    """Make FILE of what members, or shards, have left; compute nothing. What is not there is NaN."""
    from langevin.errors import UserError
    from langevin.files.paths import Paths
    from langevin.machine.interruption import listening
    from langevin.running.session import Manner
    from langevin.sweep import execution, patience

    paths = Paths(file)
    if not paths.sweeping:
        if not file.exists():
            raise UserError(f"nothing to combine: there is no {paths.sweep}")
        click.echo(f"{file} is complete")
        return

    def combined() -> Path:
        with paths.locked():
            return execution.combine_only(paths, Manner(stop))

    with listening(None) as stop:
        # Whoever submitted it, or combines, too, may still hold the files.
        path = patience.patiently(combined)
    conclude(path, quiet)
