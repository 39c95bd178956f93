"""Run files in odd places, of odd contents, under odd names: one line, at once."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from conftest import ROOT

from langevin.commands.cli import main
from langevin.config import run_files, toml_text
from langevin.errors import MOST_FAULTS, ConfigError, UserError

RUN = (ROOT / "runs/smoke/harmonic.toml").read_text(encoding="utf-8")


def langevin(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_mark_at_the_beginning_is_no_text(encoding: str, here: Path) -> None:
    (here / "a.toml").write_text(RUN, encoding=encoding)
    assert run_files.load("a.toml").text == RUN


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (RUN.encode("utf-16"), r"not a run file \(UTF-16 text; needed: UTF-8\)"),
        (RUN.encode("utf-16-be"), "not valid TOML"),
        (RUN.encode("utf-32"), r"not a run file \(UTF-32 text"),
        (b"\xff\xff", "not UTF-8"),
        (b"# " + b"x" * (1 << 20), "over 1 MB"),
        (b"x = " + b"[" * 50_000, "not valid TOML: nested more than 30 deep"),
        (b"x = " + b"[" * 40 + b"]" * 40, "x: nested more than 30 deep"),
        (b"a." * 50_000 + b"a = 1", "nested more than 30 deep"),
        (b"a." * 35 + b"a = 1", "a.a: nested more than 30 deep"),
        (b"seed = " + b"9" * 5000, "an integer of over 4,300 digits; allowed: up to 300"),
        (
            b"[ensemble]\nseed = 0x" + b"f" * 6000,
            "ensemble.seed: an integer of some 7,225 digits; allowed: up",
        ),
    ],
)
def test_contents_that_are_no_run_file(content: bytes, words: str, here: Path) -> None:
    (here / "a.toml").write_bytes(content)
    with pytest.raises(UserError, match=words) as caught:
        run_files.load("a.toml")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


def test_settings_of_python_have_the_same_limits() -> None:
    endless: dict[str, object] = {}
    endless["system"] = endless
    with pytest.raises(ConfigError, match="nested more than 30 deep"):
        run_files.load(endless)
    with pytest.raises(ConfigError, match=r"ensemble.seed: an integer of some 400 digits"):
        run_files.load({"ensemble": {"seed": 10**400}})
    with pytest.raises(ConfigError, match="nested more than 30 deep"):
        run_files.load({}, {".".join("a" * 100): 1})


def test_a_name_with_a_nul() -> None:
    with pytest.raises(UserError, match="cannot read the run file: embedded null byte"):
        run_files.load("a\0b")


def test_no_output_path_is_the_run_files_own(here: Path) -> None:
    (here / "a.toml").write_text(RUN, encoding="utf-8")
    assert run_files.load("a.toml", {"output.path": ""}).output.path == "a.nc"


def test_long_values_and_many_faults_can_be_read(here: Path) -> None:
    long = {"system": {"name": "x" * 100_000}, "dynamics": {"dt": ["y"] * 10_000}, "z" * 5000: 1}
    with pytest.raises(ConfigError) as caught:
        run_files.load(long)
    for fault in caught.value.faults:
        assert len(fault) < 1000
        assert "characters)" in fault or "missing" in fault
    with pytest.raises(ConfigError) as caught:
        run_files.load({f"k{i}": 1 for i in range(3000)})
    lines = str(caught.value).splitlines()
    assert len(lines) == MOST_FAULTS + 2
    assert lines[-1].strip() == f"… and {len(caught.value.faults) - MOST_FAULTS} more"


def test_a_pipe(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is read to its end; one that is silent is not waited for."""
    monkeypatch.setattr(toml_text, "PATIENCE", 0.2)
    os.mkfifo("pipe.toml")
    done = langevin("validate", "pipe.toml")
    assert done.exit_code == 2
    assert done.output.startswith("langevin: pipe.toml: cannot read the run file: ")
    silent = os.open("pipe.toml", os.O_RDWR)
    with pytest.raises(UserError, match="nothing came through the pipe"):
        run_files.load("pipe.toml")
    os.close(silent)
    monkeypatch.setattr(toml_text, "PATIENCE", 20.0)
    writer = threading.Thread(target=Path("pipe.toml").write_text, args=(RUN,), daemon=True)
    # Opened for both, so that neither waits for the other.
    both = os.open("pipe.toml", os.O_RDWR)
    writer.start()
    writer.join()
    closing = threading.Timer(0.2, os.close, (both,))
    closing.start()
    assert run_files.load("pipe.toml").text == RUN


def test_standard_input(here: Path) -> None:
    line = f"'{sys.executable}' -m langevin validate /dev/stdin"
    done = subprocess.run(["bash", "-c", line], input=RUN.encode(), capture_output=True, check=False)
    assert (done.returncode, done.stdout[:18]) == (0, b"/dev/stdin: valid "), done.stderr


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        ("folder", 2, "cannot read the run file: Is a directory"),
        ("/dev/null", 2, "system.name: missing"),
        ("/dev/zero", 2, "not a run file (over 1 MB)"),
        ("x" * 256, 2, "File name too long"),
        ("x/" * 3000, 2, "File name too long"),
        ("", 2, "Is a directory"),
        ("no\udcff", 2, "no\\xff: cannot read the run file: No such file"),
        ("a\nb\x1b[2J", 2, "a\\nb\\x1b[2J: cannot read"),
    ],
)
def test_places_that_hold_no_run_file(name: str, code: int, words: str, here: Path) -> None:
    Path("folder").mkdir()
    done = langevin("validate", name)
    assert (done.exit_code, words in done.output) == (code, True), done.output
    assert done.output.startswith("langevin: ") and len(done.output) < 3000
    assert name == "/dev/null" or done.output.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (f"{'x' * 250}.toml", "the name has 253 bytes; allowed: up to 232"),
        (
            os.fsdecode(b"no\xff.toml"),
            "file names have the encoding utf-8 here, which lacks some of its characters",
        ),
    ],
)
def test_run_files_whose_results_cannot_have_their_name(name: str, words: str, here: Path) -> None:
    (here / name).write_text(RUN, encoding="utf-8")
    for command in ("validate", "run"):
        done = langevin(command, name)
        assert (done.exit_code, done.output.count("\n")) == (2, 1), done.output
        assert "output.path = " in done.output and words in done.output
    assert langevin("validate", name, "--set", "output.path=a.nc").exit_code == 0
    assert len(list(here.iterdir())) == 1


def test_what_the_operating_system_says_is_one_line(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(self: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(self))

    (here / "a.toml").write_text(RUN, encoding="utf-8")
    # A folder without x, which no test that root runs can make.
    monkeypatch.setattr(Path, "is_dir", refused)
    monkeypatch.setattr(Path, "exists", refused)
    for arguments in (["validate", "a.toml"], ["info", "b.nc"], ["plot", "b.nc"], ["resume", "b.nc"]):
        done = langevin(*arguments)
        # A file that is named and cannot be read is the user's to mend.
        assert (done.exit_code in (1, 2), done.output.count("\n")) == (True, 1), done.output
        assert done.output.startswith("langevin: ") and "Permission denied" in done.output


def test_a_checkout_beside_an_installed_package(tmp_path: Path) -> None:
    """Whichever `langevin` is found, its systems are those that stand by it."""
    site = tmp_path / "site"
    (site / "langevin").mkdir(parents=True)
    for file in (ROOT / "langevin").iterdir():
        (site / "langevin" / file.name).symlink_to(file)
    for room in ("systems", "observables"):
        (site / "langevin" / room).symlink_to(ROOT / room)
    program = (
        "import sys\n"
        # As if nothing were installed in place.
        "sys.meta_path = [f for f in sys.meta_path if 'editable' not in repr(f).lower()]\n"
        "sys.path[:0] = sys.argv[1:]\n"
        "import langevin.systems.harmonic, langevin.observables.statistics\n"
        "print(langevin.systems.harmonic.__file__, len(langevin.__path__))\n"
    )
    for first, other, systems, places in (
        (ROOT, site, ROOT / "systems/harmonic.py", 2),
        (site, ROOT, site / "langevin/systems/harmonic.py", 1),
    ):
        command = [sys.executable, "-c", program, str(first), str(other)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=True)
        assert done.stdout.split() == [str(systems), str(places)]


@pytest.mark.parametrize("margin", ["nan", "inf"])
def test_a_margin_is_a_number(margin: str, here: Path) -> None:
    done = langevin("plane", "a.nc", "--margin", margin)
    assert (done.exit_code, done.output) == (2, f"langevin: --margin {margin}: must be a finite number ≥ 0\n")
