"""A sweep is left to Slurm: here a stand-in of it runs the scripts, a task after the other, by a shell."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import xarray as xr

import langevin
from langevin.commands.cli import main
from langevin.errors import Interrupted, LangevinError, UserError
from langevin.files import manifest
from langevin.files.paths import Paths
from langevin.sweep import patience, tasks

#: Notes its arguments and keeps the script.
SBATCH = """#!/bin/bash
here=$(dirname "$0")
printf '%s\\n' "$@" >> "$here/arguments"
[ -e "$here/refuses" ] && { cat "$here/refuses" >&2; exit 1; }
[ -n "$SLURM_MEM_PER_NODE" ] && { echo "sbatch: error: the memory of another job" >&2; exit 1; }
number=$(( $(cat "$here/number" 2>/dev/null || echo 100) + 1 ))
echo "$number" > "$here/number"
cp "${@: -1}" "$here/$(basename "${@: -1}").$number"
echo "$number"
"""

#: To a task it says that so much time is left as a file holds; of a whole array nothing runs any more.
SQUEUE = """#!/bin/bash
case "$*" in *%L*) cat "$(dirname "$0")/left" ;; esac
"""

SCONTROL = """#!/bin/bash
here=$(dirname "$0")
case $1 in
  requeue) echo "$2" >> "$here/requeued"; echo 1:00:00 > "$here/left"; touch "$here/again" ;;
  show) echo "MaxArraySize            = $(cat "$here/most" 2>/dev/null || echo 1001)" ;;
esac
"""

RUN_FILE = """
title = "springs"
[system]
name = "harmonic"
n = 3
[dynamics]
temperature = 1.0
dt = 0.1
t_max = 2.0
[ensemble]
replicas = 3
[record]
times = [1.0]
waiting_times = [0.0]
lags = [1.0]
[output]
figure = false
"""

TWO = RUN_FILE + '[sweep]\n"dynamics.temperature" = [0.5, 1.0]\n'
SWEEP = RUN_FILE + '[sweep]\n"dynamics.temperature" = [0.5, 1.0, 2.0]\n'


class Queue:
    """The stand-in: where its commands are, and what they have noted."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        for name, text in (("sbatch", SBATCH), ("squeue", SQUEUE), ("scontrol", SCONTROL)):
            (folder / name).write_text(text)
            (folder / name).chmod(0o755)
        self.say("left", "1:00:00")

    def say(self, name: str, text: str = "") -> None:
        (self.folder / name).write_text(text + "\n")

    def noted(self, name: str) -> list[str]:
        path = self.folder / name
        return path.read_text().splitlines() if path.exists() else []

    def script(self, name: str) -> str:
        return (self.folder / name).read_text()

    def run(self, name: str) -> list[tuple[int, int]]:
        """Carry out the tasks of a script, and those that requeue themselves again; return their exit codes.

        Options are read as sbatch reads them: no shell expands them.
        """
        script, number = self.folder / name, name.rpartition(".")[2]
        lines = [line for line in script.read_text().splitlines() if line.startswith("#SBATCH ")]
        options = [shlex.split(line.removeprefix("#SBATCH --"))[0].partition("=") for line in lines]
        named = {key: value for key, _, value in options}
        first, _, last = named.get("array", "0").partition("%")[0].partition("-")
        codes = []
        for k in range(int(first), int(last or first) + 1):
            self.say("again")
            while (again := self.folder / "again").exists():
                again.unlink()
                log = named["output"].replace("%%", "\0").replace("%a", str(k)).replace("\0", "%")
                own = {"SLURM_ARRAY_JOB_ID": number, "SLURM_ARRAY_TASK_ID": str(k)}
                with Path(log).open(named["open-mode"][0]) as out:
                    how: Any = {"stdout": out, "stderr": out, "env": {**os.environ, **own}}
                    code = subprocess.call(["bash", str(script)], cwd=named["chdir"], **how)
                codes.append((k, code))
        return codes


@pytest.fixture
def queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Queue:
    """A queue in front of PATH, and a working directory with blanks and quotes in its name."""
    there = Queue(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{there.folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_MEM_PER_NODE", "1")
    work = tmp_path / 'it\'s "a" 100% $HOME'
    work.mkdir()
    monkeypatch.chdir(work)
    Path("a.toml").write_text(SWEEP)
    return there


def langevin_says(*arguments: str) -> None:
    main(["--debug", *arguments], standalone_mode=False)


def submit(*arguments: str, file: str = "a.toml") -> None:
    langevin_says("submit", file, "--slurm", "array", *arguments)


def reference(text: str = SWEEP) -> xr.Dataset:
    Path("b.toml").write_text(text)
    return langevin.run("b.toml", executor="in_process")


def assert_same(one: xr.Dataset, other: xr.Dataset) -> None:
    xr.testing.assert_identical(
        *(d.drop_vars("wall_time_seconds", errors="ignore").drop_attrs(deep=False) for d in (one, other))
    )


def test_an_array_carries_out_a_sweep_and_a_job_combines(
    queue: Queue, capfd: pytest.CaptureFixture[str]
) -> None:
    Path("a.toml").write_text(TWO)
    submit("--time", "2:00", "--max-running", "2")
    out, _ = capfd.readouterr()
    assert out.splitlines() == [
        "job 101: 2 tasks for 2 members, logs in a.slurm",
        "job 102: makes one file of what they leave, a.nc",
    ]
    assert queue.run("array.sh.101") == [(0, 0), (1, 0)]
    assert queue.run("combine.sh.102") == [(0, 0)]
    assert queue.noted("arguments")[2] == "--parsable"
    assert queue.noted("arguments")[3] == "--dependency=afterany:101"
    with langevin.open("a.nc") as dataset:
        assert dataset.attrs["status"] == "complete"
        assert dataset.attrs["wall_time_seconds"] > 0
        assert [line.split()[1] for line in dataset.attrs["history"].splitlines()] == ["submit:", "combine:"]
        assert_same(dataset, reference(TWO))
    assert not Path("a.sweep").exists()
    assert sorted(p.name for p in Path("a.slurm").iterdir()) == [
        *("array.sh", "combine.log", "combine.sh", "task-0.log", "task-1.log")
    ]
    assert "springs, temperature" not in Path("a.slurm/task-1.log").read_text()
    assert "springs: start" in Path("a.slurm/task-1.log").read_text()
    # A second job that combines finds nothing to do.
    langevin_says("combine", "a.nc")
    assert capfd.readouterr().out == "a.nc is complete\n"


def test_directives_are_those_that_were_asked_for(queue: Queue) -> None:
    Path("lines.sh").write_text("module load gcc\nexport A='b c'\n")
    submit(
        *("--time", "1-12", "-p", "long", "-A", "us", "-c", "4", "--mem", "2G", "--gpus", "1"),
        *(
            "--sbatch",
            "qos=high prio",
            "--sbatch",
            "exclusive",
            "--prologue",
            "lines.sh",
            "--prologue",
            "pwd",
        ),
        *("--max-running", "5", "--per-task", "2", "--margin", "10s"),
    )
    lines = queue.script("array.sh.101").splitlines()
    asked = [line.removeprefix("#SBATCH --") for line in lines if line.startswith("#SBATCH")]
    folder = str(Path.cwd()).replace('"', '\\"')
    assert asked == [
        *("requeue", "open-mode=append", "job-name=springs", "array=0-1%5", "cpus-per-task=4", "time=1-12"),
        *("partition=long", "account=us", "mem=2G", "gpus=1", 'qos="high prio"', "exclusive"),
        *(f'chdir="{folder}"', f'output="{folder.replace("%", "%%")}/a.slurm/task-%a.log"'),
    ]
    assert lines[lines.index("module load gcc") + 1 :][:2] == ["export A='b c'", "pwd"]
    assert '--wall-time "$left" --margin 10s' in queue.script("array.sh.101")
    assert "gpus" not in queue.script("combine.sh.102")
    assert "partition=long" in queue.script("combine.sh.102")


def test_scripts_are_sound_shell(queue: Queue) -> None:
    submit("--per-task", "2", "--prologue", "true")
    for name in ("array.sh.101", "combine.sh.102"):
        subprocess.run(["bash", "-n", str(queue.folder / name)], check=True)
        if checker := shutil.which("shellcheck"):
            subprocess.run([checker, "--severity=warning", str(queue.folder / name)], check=True)


def test_shards_and_several_in_a_task(queue: Queue) -> None:
    submit("--shards", "3", "--per-task", "10")
    assert queue.run("array.sh.101") == [(0, 0)]
    langevin_says("combine", "a.nc", "-q")
    with langevin.open("a.nc") as dataset:
        assert_same(dataset, reference())


def test_nothing_is_written_to_look_at_it(queue: Queue, capfd: pytest.CaptureFixture[str]) -> None:
    submit("--dry-run", "--per-task", "2")
    out = capfd.readouterr().out
    assert "#SBATCH --array=0-1\n" in out
    assert "-m langevin combine" in out
    assert [p.name for p in Path.cwd().iterdir()] == ["a.toml"]
    assert not queue.noted("arguments")


def test_a_single_run_goes_on_when_its_time_is_over(queue: Queue, capfd: pytest.CaptureFixture[str]) -> None:
    """It is an array of one. Requeued, it has an hour."""
    text = RUN_FILE.replace("t_max = 2.0", "t_max = 40000.0")
    Path("a.toml").write_text(text)
    queue.say("left", "0:01")
    submit("--margin", "0.01s")
    assert "job 101: 1 task for 1 run" in capfd.readouterr().out
    assert queue.run("array.sh.101") == [(0, 124), (0, 0)]
    assert queue.noted("requeued") == ["101_0"]
    langevin_says("combine", "a.nc", "-q")
    with langevin.open("a.nc") as dataset:
        assert dataset.attrs["status"] == "complete"
        assert_same(dataset, reference(text))


def test_a_task_that_never_comes_farther_fails(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else it would requeue itself for ever."""
    submit()

    def stops(job: Any, *rest: Any) -> None:
        raise Interrupted("stopped at the wall time (1 s)", "at the wall time (1 s)", 124)

    monkeypatch.setattr("langevin.sweep.member.carry_out", stops)
    with pytest.raises(
        LangevinError, match=r"member 1 failed: stopped at the wall time .1 s., before it could write "
    ):
        langevin_says("member", "a.nc", "1")
    assert "needs a longer one" in Path("a.sweep/member-0001.failed").read_text()


def test_a_request_to_stop_is_no_end_of_time(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    """What scancel ends does not come back."""
    submit()

    def stops(job: Any, *rest: Any) -> None:
        raise Interrupted("stopped by SIGTERM", "by SIGTERM", 143)

    monkeypatch.setattr("langevin.sweep.member.carry_out", stops)
    with pytest.raises(Interrupted) as caught:
        tasks.carry_out(Paths(Path("a.nc")), ["0-2"], 1, None, False)
    assert caught.value.exit_code == 143
    assert not list(Path("a.sweep").glob("*.failed"))


def test_what_is_left_is_not_computed_by_whoever_combines(queue: Queue) -> None:
    submit()
    with pytest.raises(LangevinError, match=r"no member has measured anything; .* = 0\.5: not begun"):
        langevin_says("combine", "a.nc")
    assert Path("a.sweep").exists()
    langevin_says("member", "a.nc", "1", "-q")
    with pytest.raises(LangevinError) as caught:
        langevin_says("combine", "a.nc")
    assert str(caught.value) == (
        "2 of 3 members left: dynamics.temperature = 0.5: not begun (and 1 more); the others are in a.nc; "
        "`langevin resume a.nc` goes on"
    )
    with langevin.open("a.nc") as dataset:
        assert dataset["status"].values.tolist() == ["missing", "complete", "missing"]
        assert dataset.attrs["status"] == "incomplete: 2 of 3 members missing"
    # Only those are submitted that are left, though there is a result.
    submit("--resume")
    assert "#SBATCH --array=0,2\n" in queue.script("array.sh.103")
    langevin_says("member", "a.nc", "0-9", "-q")
    langevin_says("combine", "a.nc", "-q")
    with langevin.open("a.nc") as dataset:
        assert_same(dataset, reference())
    assert not Path("a.sweep").exists()


def test_failures_are_told_by_whoever_combines(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other units of the task are carried out."""
    Path("breaks.py").write_text(
        textwrap.dedent("""
        import numpy as np
        from langevin import Probe
        from langevin.errors import LangevinError

        class Breaks(Probe):
            def take(self, run, stop):
                if run.system.model.initial_temperature == 2.0:
                    raise LangevinError("no such luck")
                return {"nothing": ((), np.zeros(run.ensemble.size))}

            def attributes(self):
                return {"nothing": {"long_name": "nothing", "units": "1"}}
        """)
    )
    text = SWEEP.replace('dynamics.temperature"', 'dynamics.initial_temperature"').replace(
        "[output]", '[record.probes.own]\nuse = "breaks:Breaks"\n[output]'
    )
    text = text.replace("[0.5, 1.0, 2.0]", "[2.0, 0.5, 1.0]")
    Path("a.toml").write_text(text)
    submit()
    with pytest.raises(LangevinError, match=r"^member 0 failed: no such luck$"):
        langevin_says("member", "a.nc", "0-2", "-q")
    with pytest.raises(
        LangevinError, match=r"^1 of 3 members failed: .*initial_temperature = 2\.0: no such luck; "
    ):
        langevin_says("combine", "a.nc")
    with langevin.open("a.nc") as dataset:
        assert dataset["status"].values.tolist() == ["failed: no such luck", "complete", "complete"]


def test_two_tasks_do_not_work_on_one_member(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    """It waits for a while, and has not failed then: the other one has it."""
    submit()
    monkeypatch.setattr(patience, "PATIENCE", 0.05)
    monkeypatch.setattr(patience, "LOOK", 0.01)
    with (
        Paths(Path("a.sweep/member-0000.nc").resolve()).locked(),
        pytest.raises(UserError, match="another process is working on"),
    ):
        langevin_says("member", "a.nc", "0")
    assert not list(Path("a.sweep").glob("*.failed"))
    langevin_says("member", "a.nc", "0")


def test_a_task_does_not_validate_the_others(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    from langevin.config import validate

    submit()
    seen = []
    before = validate.validate

    def counting(given: Any, *rest: Any) -> Any:
        seen.append(given["dynamics"]["temperature"])
        return before(given, *rest)

    monkeypatch.setattr("langevin.config.run_files.validate", counting)
    monkeypatch.setattr("langevin.config.sweep.single.validate", counting)
    langevin_says("member", "a.nc", "2", "-q")
    assert seen == [2.0]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--time", "tomorrow"], "--time tomorrow: allowed: as sbatch takes it: minutes"),
        (("--sbatch", "array=1"), "--sbatch array: is set by langevin"),
        (("--sbatch", "Q-O=1"), "--sbatch 'Q-O': must be a long option of sbatch"),
        (("--sbatch", "qos=a\nb"), "--sbatch qos: its value must be one line"),
        (("--margin", "soon"), "--margin = 'soon': allowed: seconds"),
        (("--shards", "4"), "ensemble.shards = 4: must be ≤ ensemble.replicas = 3"),
    ],
)
def test_what_is_asked_for_wrongly_is_refused(queue: Queue, arguments: Sequence[str], said: str) -> None:
    with pytest.raises(LangevinError) as caught:
        submit(*arguments)
    assert said in str(caught.value)
    assert [p.name for p in Path.cwd().iterdir()] == ["a.toml"]


def test_what_the_queue_refuses_leaves_nothing(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    queue.say("refuses", "sbatch: error: invalid partition specified: nowhere")
    with pytest.raises(
        LangevinError, match=r"^sbatch has refused array\.sh: sbatch: error: invalid partition"
    ):
        submit("-p", "nowhere")
    assert not Path("a.sweep").exists()
    (queue.folder / "refuses").unlink()
    queue.say("most", "2")
    with pytest.raises(
        UserError, match=r"--per-task 1: 3 tasks; allowed here: 2 \(MaxArraySize\), so --per-task ≥ 2"
    ):
        submit()
    submit("--per-task", "2")
    with pytest.raises(UserError, match=r"a\.sweep holds an unfinished sweep: continue it with"):
        submit()
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(UserError, match="there is no sbatch here"):
        submit("--force")


def test_the_folder_of_tasks_that_wait_stays(queue: Queue, capfd: pytest.CaptureFixture[str]) -> None:
    """The array is taken, and the script of the job after it cannot be written."""
    Path("a.slurm/combine.sh").mkdir(parents=True)
    submit()
    assert Path("a.sweep/sweep.json").exists()
    job, last = capfd.readouterr().out.splitlines()
    assert job == "job 101: 3 tasks for 3 members, logs in a.slurm"
    assert last.startswith("no job makes one file of them (") and "`langevin combine a.nc`" in last


def test_folders_in_the_way(queue: Queue) -> None:
    Path("a.sweep").mkdir()
    with pytest.raises(UserError, match=r"a\.sweep is in the way: members are kept there"):
        submit()
    Path("a.sweep").rmdir()
    Path("a.slurm").write_text("")
    with pytest.raises(LangevinError, match=r"a\.slurm"):
        submit()
    assert not Path("a.sweep").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("member", "a.nc", "3"), "3: there are 3, 0 to 2"),
        (("member", "a.nc", "-x"), "No such option"),
        (("member", "a.nc", "1-x"), "'1-x': must be a number, such as 3, or a range, such as 0-99"),
        (("member", "c.nc", "1"), "c.nc has no folder of members"),
        (("combine", "c.nc"), "nothing to combine: there is no c.sweep"),
    ],
)
def test_tasks_that_are_none(queue: Queue, arguments: Sequence[str], said: str) -> None:
    submit()
    with pytest.raises(Exception, match=said.replace("(", r"\(")):
        langevin_says(*arguments)


def test_older_manifests_are_carried_out_by_resume_alone(queue: Queue) -> None:
    submit()
    notes = manifest.read(Paths(Path("a.nc")).manifest)
    del notes["units"]
    manifest.write(Paths(Path("a.nc")).manifest, notes)
    with pytest.raises(UserError, match=r"written by another version; `langevin resume a\.nc`"):
        langevin_says("member", "a.nc", "0")
    langevin.resume("a.nc", executor="in_process").close()
    assert not Path("a.sweep").exists()
