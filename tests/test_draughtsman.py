"""The figure of a run is drawn by a process beside it, or by the run's own: nobody can tell by which."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import langevin
from langevin import plotting
from langevin.commands import draughtsman, options
from langevin.commands.draughtsman import Draughtsman

RUN = """
title = "beside"
[system]
name = "{name}"
n = 20
[dynamics]
temperature = 0.1
dt = 0.02
t_max = 2.0
[output]
path = "{path}"
"""
CLI = "from langevin.commands.cli import main; main()"
#: Of a user: figures are to have other colours.
MODULE = """
import matplotlib
import numpy as np
from langevin import Model
from langevin.config.keys import Section, key

matplotlib.rcParams["axes.facecolor"] = "#D55E00"

class Springs(Model):
    class Parameters(Section):
        n: int = key("number", example=20, ge=1)

    def __init__(self, parameters, dynamics, ensemble):
        self.n, self.ensemble = parameters.n, ensemble

    def initial_configuration(self, noise):
        return np.ones((self.ensemble.size, self.n))

    def force(self, x, t, noise):
        return -x

    def energy(self, x):
        return np.mean(x**2, axis=1) / 2
"""

several = pytest.mark.skipif(
    hasattr(os, "sched_getaffinity") and len(os.sched_getaffinity(0)) < 2, reason="needs two processors"
)


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("beside") / "result.nc"
    settings = {
        "system": {"name": "harmonic", "n": 20},
        "dynamics": {"temperature": 0.1, "dt": 0.02, "t_max": 2.0},
        "output": {"path": str(path)},
    }
    langevin.run(settings).close()
    return path


@pytest.fixture
def drawing() -> Iterator[Draughtsman]:
    there = Draughtsman()
    try:
        yield there
    finally:
        there.leave()
        assert there._process.returncode is not None


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process seem to know nothing of figures."""
    monkeypatch.setattr(draughtsman, "knows_figures", lambda: False)


def started(program: str, folder: Path) -> subprocess.Popen[bytes]:
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [sys.executable, "-c", program], cwd=folder, stdin=pipe, stdout=pipe, stderr=pipe, bufsize=0
    )


BESIDE = (
    "from langevin.plotting import beside; beside.PATIENCE = {patience}; raise SystemExit(not beside.main())"
)


def test_it_draws_what_this_process_draws(result: Path, tmp_path: Path) -> None:
    beside = started(BESIDE.format(patience=600), tmp_path)
    said, errors = beside.communicate(
        json.dumps([str(result), str(tmp_path / "beside.png")]).encode() + b"\n"
    )
    assert (said, errors, beside.returncode) == (b"drawn\n", b"", 0)
    with langevin.open(result) as dataset:
        plotting.save(dataset, tmp_path / "own.png")
    assert (tmp_path / "beside.png").read_bytes() == (tmp_path / "own.png").read_bytes()


#: The whole process, with a library that says something, makes a file for a while, and is sent a signal.
WHOLE = """
import atexit, os, pathlib, signal, sys
from langevin.commands import draughtsman
from langevin.plotting import beside

def get_ready():
    print("loaded", file=sys.stderr)
    pathlib.Path("for_a_while").touch()
    atexit.register(os.remove, "for_a_while")
    {then}

beside.get_ready = get_ready
draughtsman.main()
"""


def test_it_leaves_interrupts_to_its_starter(result: Path, tmp_path: Path) -> None:
    whole = started(WHOLE.format(then="os.kill(os.getpid(), signal.SIGINT)"), tmp_path)
    said, errors = whole.communicate(json.dumps([str(result), str(tmp_path / "beside.png")]).encode() + b"\n")
    # What was said while it loaded is heard with the figure.
    assert (said, errors, whole.returncode) == (b"drawn\n", b"loaded\n", 0)
    assert [path.name for path in tmp_path.iterdir()] == ["beside.png"]


@pytest.mark.parametrize("then", ["pass", "os.kill(os.getpid(), signal.SIGTERM)", "1 / 0"])
def test_where_no_figure_is_wanted_it_leaves_no_word_and_no_file(then: str, tmp_path: Path) -> None:
    whole = started(WHOLE.format(then=then), tmp_path)
    assert whole.communicate(b"") == (b"", b"")
    assert whole.returncode == (then != "pass")
    assert not list(tmp_path.iterdir())


def test_it_hears_no_signal_of_the_terminal(drawing: Draughtsman) -> None:
    assert os.getsid(drawing._process.pid) != os.getsid(0)


def test_it_ends_when_nobody_wants_anything(tmp_path: Path) -> None:
    beside = started(BESIDE.format(patience=600), tmp_path)
    assert (*beside.communicate(b""), beside.returncode) == (b"", b"", 0)


def test_it_ends_by_itself_when_it_has_waited_long_enough(tmp_path: Path) -> None:
    beside = started(BESIDE.format(patience=0.01), tmp_path)
    assert beside.stdout is not None
    # Its input is open all the while.
    assert beside.stdout.read() == b""
    assert beside.wait(60) == 0
    beside.communicate()


def test_what_it_cannot_draw_it_leaves_without_a_word(tmp_path: Path) -> None:
    beside = started(BESIDE.format(patience=600), tmp_path)
    paths = [str(tmp_path / "none.nc"), str(tmp_path / "none.png")]
    assert beside.communicate(json.dumps(paths).encode() + b"\n") == (b"", b"")
    assert beside.returncode == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("fresh")
def test_a_figure_that_is_asked_for_is_there(result: Path, tmp_path: Path, drawing: Draughtsman) -> None:
    drawing.begin(result, tmp_path / "figure.png")
    assert drawing.has_drawn()
    assert (tmp_path / "figure.png").stat().st_size


@pytest.mark.usefixtures("fresh")
def test_paths_are_those_of_its_starter(
    result: Path, tmp_path: Path, drawing: Draughtsman, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Code of a user's may go to another folder."""
    monkeypatch.chdir(result.parent)
    drawing.begin(Path(result.name), Path("elsewhere.png"))
    assert drawing.has_drawn()
    assert Path("elsewhere.png").stat().st_size


@pytest.mark.usefixtures("fresh")
def test_nobody_is_started_where_python_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draughtsman.processor, "available", lambda: 2)
    monkeypatch.setattr(sys, "executable", None)
    with draughtsman.at_hand(None) as nobody:
        assert nobody is None


def test_whoever_knows_more_of_figures_draws_itself(
    result: Path, tmp_path: Path, drawing: Draughtsman
) -> None:
    assert "matplotlib" in sys.modules
    drawing.begin(result, tmp_path / "figure.png")
    assert not drawing.has_drawn()
    with draughtsman.at_hand(None) as nobody:
        assert nobody is None


@pytest.mark.usefixtures("fresh")
def test_nobody_is_started_for_one_processor() -> None:
    with draughtsman.at_hand(1) as nobody:
        assert nobody is None


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize(
    "start", ["pass", "import os; os._exit(3)", "import sys; sys.stdin.readline(); 1 / 0"]
)
def test_if_it_dies_the_figure_is_drawn_all_the_same(
    start: str, result: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(draughtsman, "_START", start)
    figure = result.with_suffix(".png")
    figure.unlink(missing_ok=True)
    lost = Draughtsman()
    try:
        options.conclude(result, quiet=False, draughtsman=lost)
    finally:
        lost.leave()
    assert figure.stat().st_size
    assert f"figure  {figure}" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("text", "assignments", "wanted"),
    [
        ("", (), True),
        ("[output]\npath = 'x.nc'", ("dynamics.t_max=3",), True),
        ("\ufeff[output]\nfigure = true", (), True),
        ("title = 'x'\n[output]\n  figure=false", (), False),
        ("output.figure = false", (), False),
        ("# figure = false\n[sweeps]", (), True),
        ("[sweep]", (), False),
        ("\t[ sweep . dynamics ]", (), False),
        ("sweep.n = [1]", (), False),
        ("[output]", ("output.figure=false",), False),
        ("[output]", ("sweep.temperature=[1.0]",), False),
        # What is no run file is refused soon.
        ("a = " + "[" * 100_000, (), True),
        (None, (), False),
    ],
)
def test_for_which_run_files_it_is_started(
    text: str | None, assignments: tuple[str, ...], wanted: bool, tmp_path: Path
) -> None:
    file = tmp_path / "run.toml"
    if text is not None:
        file.write_text(text, encoding="utf-8")
    assert draughtsman.wanted(file, assignments) is wanted


@pytest.mark.parametrize("name", ["a" * 300, "a\0b", "."])
def test_names_that_are_no_file_are_left_to_whoever_reads_it(name: str, tmp_path: Path) -> None:
    assert not draughtsman.wanted(tmp_path / name, ())


@several
@pytest.mark.parametrize("name", ["a" * 300, "deep.toml"])
def test_what_is_no_run_file_is_refused_as_before(name: str, tmp_path: Path) -> None:
    (tmp_path / "deep.toml").write_text("a = " + "[" * 100_000)
    made = subprocess.run(
        [sys.executable, "-c", CLI, "run", name, "--threads", "2"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert (made.returncode, made.stderr.count("\n")) == (2, 1), made.stderr


@several
@pytest.mark.parametrize("name", ["harmonic", "springs:Springs"])
def test_threads_change_nothing_in_a_figure(name: str, tmp_path: Path) -> None:
    (tmp_path / "springs.py").write_text(MODULE)
    for threads in ("1", "2"):
        (tmp_path / f"run_{threads}.toml").write_text(RUN.format(name=name, path=f"{threads}.nc"))
        words = ["run", f"run_{threads}.toml", "--threads", threads]
        made = subprocess.run(
            [sys.executable, "-c", CLI, *words], cwd=tmp_path, capture_output=True, text=True
        )
        assert made.returncode == 0, made.stderr
        assert made.stdout.endswith(f"result  {threads}.nc\nfigure  {threads}.png\n")
    assert (tmp_path / "1.png").read_bytes() == (tmp_path / "2.png").read_bytes()


@several
def test_nothing_is_left_of_it_where_a_run_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text(RUN.format(name="harmonic", path="there.nc"))
    (tmp_path / "there.nc").write_text("of somebody")
    program = f"""
import psutil
try:
    {CLI}
finally:
    assert not psutil.Process().children()
"""
    made = subprocess.run(
        [sys.executable, "-c", program, "run", "run.toml", "--threads", "2"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert made.returncode == 2
    assert "AssertionError" not in made.stderr
    assert "there.nc" in made.stderr
