"""A sweep is submitted to Slurm as an array of jobs, and one more job that makes one file of what they leave.

The scripts are plain: without langevin's help they can be read, changed and submitted by hand. Nothing runs
between them: a task that its time does not suffice writes its checkpoint and requeues itself.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from langevin.config.settings import Settings
from langevin.errors import LangevinError, UserError
from langevin.files import manifest
from langevin.files.disk import explained
from langevin.files.paths import Paths
from langevin.machine.interruption import TIMED_OUT
from langevin.running.execution import SingleRun
from langevin.running.session import Manner
from langevin.speech import command

from . import execution
from .units import Layout

#: Characters of the name of a job.
LONGEST_NAME = 60

#: Directives that the scripts need as they are.
OURS = ("array", "dependency", "chdir", "output", "error", "open-mode", "requeue", "no-requeue", "wrap")

#: Variables of Slurm's that tell sbatch which Slurm it is of; those of a job that it is called from, such as
#: its memory, would change what is asked for.
_KEPT = ("SLURM_CONF", "SLURM_CLUSTERS")

#: A limit of time, as sbatch takes it.
_LIMIT = r"\d+(:\d+){0,2}|\d+-\d+(:\d+){0,2}"

#: What the time that is left looks like: minutes:seconds, hours:minutes:seconds, days-hours:minutes:seconds.
_LEFT = "^([0-9]+-)?([0-9]+:)?[0-9]+:[0-9]+$"


@dataclass(frozen=True)
class Request:
    """What is asked of Slurm.

    Attributes
    ----------
    directives : mapping
        Option of sbatch, without its dashes → its value; empty for one that has none.
    cpus : int
        Processors of a task.
    per_task : int
        Units that a task carries out, one after the other.
    most_running : int or None
        Tasks that run at the same time, at most; None: as many as Slurm allows.
    prologue : sequence of str
        Lines of shell before everything else.
    margin : str
        Time that is kept free at the end of a job for its last checkpoint.

    Raises
    ------
    UserError
        If a directive is one of those that the scripts need as they are, or no option.
    """

    directives: Mapping[str, str] = field(default_factory=dict)
    cpus: int = 1
    per_task: int = 1
    most_running: int | None = None
    prologue: Sequence[str] = ()
    margin: str = "30s"

    def __post_init__(self) -> None:
        """Check what sbatch would take for something else."""
        for name, value in self.directives.items():
            if name in OURS:
                raise UserError(f"--sbatch {name}: is set by langevin; allowed: other options of sbatch")
            if not re.fullmatch(r"[a-z][a-z0-9-]*", name):
                raise UserError(f"--sbatch {name!r}: must be a long option of sbatch, such as qos=long")
            if name == "time" and not re.fullmatch(_LIMIT, value):
                raise UserError(
                    f"--time {value}: allowed: as sbatch takes it: minutes, such as 90, 30:00 (minutes "
                    "first), 2:00:00 (hours first), 1-12 or 1-12:00:00 (days first)"
                )
            if re.search(r"[\x00-\x1f]", value):
                raise UserError(f"--sbatch {name}: its value must be one line")


class Submission(SingleRun):
    """The carrier that leaves a run, or a sweep, to the tasks of an array.

    Parameters
    ----------
    request : Request

    Attributes
    ----------
    said : list of str
        What was submitted, a line each.
    """

    def __init__(self, request: Request) -> None:
        self.request = request
        self.said: list[str] = []

    def begin(self, settings: Settings, paths: Paths, manner: Manner, lock: int) -> Path:
        """Make the folder, write the scripts and submit them."""
        require()
        layout = Layout.of(settings, paths.sweep)
        indices = range(-(-len(layout) // self.request.per_task))
        _require_small_array(indices[-1], self.request, len(layout))
        paths.discard()
        notes = execution.prepare(settings, paths, manner, "submit")
        manifest.write(paths.manifest, {**notes, "threads": self.request.cpus})
        try:
            self._submit(paths, settings.title, indices, layout)
        except BaseException:
            if not self.said:
                # Nothing has begun: the same command is to be possible again.
                paths.discard()
            raise
        return paths.result

    def carry_on(self, paths: Paths, manner: Manner, lock: int) -> Path:
        """Submit what is left of a folder."""
        if not paths.sweeping:
            raise UserError(f"{paths.checkpoint} is of a run that no queue has begun: {command('resume')}")
        require()
        settings, _ = execution.reopened(paths, manner)
        layout = Layout.of(settings, paths.sweep)
        left = execution.left(layout)
        indices = sorted({number // self.request.per_task for number in left})
        if not indices:
            raise UserError(f"nothing is left to submit: {command('combine', paths.result)}")
        _require_small_array(indices[-1], self.request, len(layout))
        self._submit(paths, settings.title, indices, layout)
        return paths.result

    def _submit(self, paths: Paths, title: str, indices: Sequence[int], layout: Layout) -> None:
        with explained(paths.queue):
            paths.queue.mkdir(exist_ok=True)
            array, combine = paths.queue / "array.sh", paths.queue / "combine.sh"
            array.write_text(array_script(paths, title, indices, self.request))
        number = sbatch(array)
        what = f"{_counted(len(indices), 'tasks')} for {_counted(len(layout), layout.word)}"
        self.said.append(f"job {number}: {what}, logs in {paths.queue}")
        try:
            with explained(paths.queue):
                combine.write_text(combine_script(paths, title, self.request, number))
            last = sbatch(combine, f"--dependency=afterany:{number.partition(';')[0]}")
        except LangevinError as error:
            self.said.append(f"no job makes one file of them ({error}): {command('combine', paths.result)}")
        else:
            self.said.append(f"job {last}: makes one file of what they leave, {paths.result}")


def array_script(paths: Paths, title: str, indices: Sequence[int], request: Request) -> str:
    """Return the script of the array's tasks."""
    limit = f"%{request.most_running}" if request.most_running else ""
    several = request.per_task
    first = "$SLURM_ARRAY_TASK_ID" if several == 1 else f"$((SLURM_ARRAY_TASK_ID * {several}))"
    numbers = f'"{first}"'
    if several > 1:
        numbers = f'"{first}-$((SLURM_ARRAY_TASK_ID * {several} + {several - 1}))"'
    own = {"array": _ranges(indices) + limit, "cpus-per-task": str(request.cpus)}
    head = _head(paths, title, "task-%a.log", {**own, **request.directives}, request)
    return f"""{head}
# Of a signal of the queue this shell waits until the command below has written its checkpoint.
trap : TERM

# Of the last task the plain number of the job is that of the whole array.
task="${{SLURM_ARRAY_JOB_ID}}_${{SLURM_ARRAY_TASK_ID}}"
limit=()
left=$(squeue --noheader --jobs="$task" --format=%L 2>/dev/null)
if [[ "$left" =~ {_LEFT} ]]; then
  limit=(--wall-time "$left" --margin {shlex.quote(request.margin)})
else
  echo "langevin: no time limit is known: at its end the task is not requeued" >&2
fi

{_command("member", paths)} {numbers} --threads {request.cpus} "${{limit[@]}}"
code=$?

# {TIMED_OUT}: its time is over, and it has a checkpoint. After another end, such as scancel, it stays.
if [ "$code" -eq {TIMED_OUT} ]; then
  scontrol requeue "$task"
fi
exit "$code"
"""


def combine_script(paths: Paths, title: str, request: Request, array: str) -> str:
    """Return the script of the job that makes one file of what the tasks leave."""
    spared = ("gres", "gpus", "gpus-per-task", "gpus-per-node")
    directives = {k: v for k, v in request.directives.items() if k not in spared}
    head = _head(paths, f"{title} (combine)", "combine.log", directives, request)
    number = array.partition(";")[0]
    return f"""{head}
# Tasks that requeue themselves have not ended.
while squeue --noheader --jobs={shlex.quote(number)} --format=%i 2>/dev/null | grep -q .; do
  sleep 30
done

exec {_command("combine", paths)}
"""


def _head(paths: Paths, title: str, log: str, directives: Mapping[str, str], request: Request) -> str:
    name = "".join(c for c in title if c.isprintable())[:LONGEST_NAME] or "langevin"
    log_path = f"{str(paths.queue.absolute()).replace('%', '%%')}/{log}"
    own = {"job-name": name, **directives, "chdir": str(Path.cwd()), "output": log_path}
    said = [f"{key}={_quoted(value)}" if value else key for key, value in own.items()]
    asked = [f"#SBATCH --{one}" for one in ("requeue", "open-mode=append", *said)]
    lines = ["#!/bin/bash", "# Written by `langevin submit`.", *asked]
    return "\n".join([*lines, "", *request.prologue, *([""] if request.prologue else [])])


def _command(name: str, paths: Paths) -> str:
    # -P: what stands in the working directory is not imported.
    words = [sys.executable, "-P", "-m", "langevin", name, str(paths.result.absolute())]
    return shlex.join(words)


def _quoted(value: str) -> str:
    """Return a value as sbatch reads it in a script."""
    if re.fullmatch(r"[\w@%+=:,./-]+", value, re.ASCII):
        return value
    return '"' + re.sub(r'(["\\])', r"\\\1", value) + '"'


def _ranges(indices: Sequence[int]) -> str:
    """Return indices as Slurm writes them: 0-3,7."""
    parts: list[list[int]] = []
    for index in indices:
        if parts and index == parts[-1][-1] + 1:
            parts[-1][1:] = [index]
        else:
            parts.append([index])
    return ",".join("-".join(map(str, part)) for part in parts)


def _require_small_array(last: int, request: Request, units: int) -> None:
    """Refuse more tasks than an array may have here, and say how many units each needs then."""
    said = _run(["scontrol", "show", "config"])
    known = re.search(r"^MaxArraySize\s*=\s*(\d+)", said.stdout if said else "", re.MULTILINE)
    if known is not None and last >= (most := int(known[1])) > 0:
        raise UserError(
            f"--per-task {request.per_task}: {last + 1} tasks; allowed here: {most} (MaxArraySize), so "
            f"--per-task ≥ {-(-units // most)}"
        )


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str] | None:
    """Run a command of Slurm's; None if there is none of that name."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("SLURM_") or k in _KEPT}
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False, env=kept)
    except OSError:
        return None


def _counted(count: int, word: str) -> str:
    return f"{count} {word if count != 1 else word.removesuffix('s')}"


def require() -> None:
    """Refuse machines on which there is no Slurm."""
    if shutil.which("sbatch") is None:
        raise UserError(
            "there is no sbatch here: submit where Slurm is; --dry-run prints the script anywhere"
        )


def sbatch(script: Path, *options: str) -> str:
    """Submit a script and return the number of its job.

    Raises
    ------
    LangevinError
        With what sbatch says, if it refuses.
    """
    said = _run(["sbatch", "--parsable", *options, str(script)])
    if said is None or said.returncode:
        why = "it cannot be run" if said is None else " ".join((said.stderr or said.stdout).split())
        raise LangevinError(f"sbatch has refused {script.name}: {why or 'it does not say why'}")
    return said.stdout.strip().splitlines()[-1] if said.stdout.strip() else "?"
