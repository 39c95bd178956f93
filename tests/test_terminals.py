"""Terminals and files of every encoding; standard output that is closed, full, or read by nobody."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

from langevin.commands.cli import main
from langevin.config import run_files
from langevin.machine import streams, transliteration
from langevin.machine.transliteration import ERRORS, plain, plain_toml, visible

RUN = """
title = "σ of a \\"quench\\", \\U0001f600"
[system]
name = "harmonic"
n = 3
[dynamics]
temperature = 1.0
dt = 0.1
t_max = 1.0
[ensemble]
replicas = 3
"""

#: Characters of the package that a terminal without them shows as escapes: none.
OURS = {
    character
    for folder in ("langevin", "systems", "observables")
    for file in (ROOT / folder).rglob("*.py")
    for character in file.read_text(encoding="utf-8")
    if character > "\x7f"
}


@pytest.fixture
def quench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "quench.toml"
    file.write_text(RUN, encoding="utf-8")
    return file


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("T ≥ 0.5, N → ∞", "T >= 0.5, N -> inf"),
        ("10⁻⁷, dt², t_w⁰, xⁿ", "10^-7, dt^2, t_w^0, x^n"),
        ("σ₁₂ μ Δ Λ λ ς ά ϕ", "sigma_12 mu Delta Lambda lambda sigma alpha phi"),
        ("µs, ½, √2, …, 3 × 4 − 1 ± 2", "us, 1/2, sqrt2, ..., 3 x 4 - 1 +- 2"),
        ("Cugliandolo–Kurchan, naïve Größe", "Cugliandolo-Kurchan, naive Grosse"),
        ("中 😀", "\\u4e2d \\U0001f600"),
        ("no\udcff.nc, \ud800", "no\\xff.nc, \\ud800"),
        ("plain", "plain"),
    ],
)
def test_likenesses(text: str, expected: str) -> None:
    assert plain(text) == expected


def test_every_character_of_ours_has_a_likeness() -> None:
    assert len(OURS) > 50
    assert not {c for c in OURS if "\\" in plain(c) or not plain(c).isascii()}


def test_what_an_encoding_has_stays_as_it_is() -> None:
    transliteration.register()
    assert "é ± ≥ 10⁻²".encode("latin-1", ERRORS) == b"\xe9 \xb1 >= 10^-2"
    assert "√2 € …".encode("cp1252", ERRORS) == b"sqrt2 \x80 \x85"
    assert "σ\udcff".encode("utf-8", ERRORS) == "σ\\xff".encode()
    assert "x² ≥".encode(transliteration.ASCII, ERRORS) == b"x^2 >="


def test_control_characters_are_shown() -> None:
    assert visible("a\x1b[31m\u202eb\nc\x9b") == "a\\x1b[31m\\u202eb\\nc\\x9b"


def test_toml_in_ascii_means_the_same() -> None:
    assert plain_toml('# σ ≥ 0\nname = "é😀"') == '# sigma >= 0\nname = "\\u00e9\\U0001f600"'


def said(arguments: list[str], encoding: str, monkeypatch: pytest.MonkeyPatch) -> tuple[int, bytes]:
    """Return the exit code of a command and what it wrote to a terminal of this encoding."""
    written = {name: io.BytesIO() for name in ("stdout", "stderr")}
    with monkeypatch.context() as patch:
        for name, buffer in written.items():
            patch.setattr(sys, name, io.TextIOWrapper(buffer, encoding=encoding))
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        sys.stdout.flush()
        sys.stderr.flush()
        # Else the buffers are closed with them.
        return int(ended.value.code or 0), written["stdout"].getvalue() + written["stderr"].getvalue()


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_every_command_speaks_every_encoding(
    encoding: str, quench: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for arguments, code, word in (
        (["run", "quench.toml"], 0, b"energy at t = 1"),
        (["info", "quench.nc"], 0, b"msd(replica, waiting_time, lag)"),
        (["plot", "quench.nc", "--force"], 0, b"quench.png"),
        (["systems", "pspin"], 0, b"inf"),
        (["init", "pspin"], 0, b"replicas = 16"),
        (["validate", "quench.toml"], 0, b"valid"),
        (["validate", "quench.toml", "--set", "dynamics.dt=-1"], 2, b"dynamics.dt = -1: allowed: number > 0"),
        (["validate", "quench.toml", "--set", "ensemble.samples=-1"], 2, b"1 (quenched samples"),
        (["validate", "no\udcff.toml"], 2, b"no\\xff.toml: cannot read"),
        (["compare", "quench.nc"], 2, b"two files"),
        (["data", "list"], 0, b"mnist"),
        (["--help"], 0, b"Usage"),
    ):
        found, text = said(arguments, encoding, monkeypatch)
        assert (found, word in text) == (code, True), (arguments, text)
        decoded = text.decode(encoding)
        # Nothing is lost, as a question mark or an escape, but what has no likeness: the face in the title.
        assert "?" not in decoded, decoded
        assert "\\" not in decoded.replace("\\U0001f600", "").replace("\\xff", ""), decoded


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_run_file_that_is_written_there_is_valid(
    encoding: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "größe.py").write_text(
        "from langevin.systems.harmonic import Harmonic\nclass Größe(Harmonic):\n    pass\n", encoding="utf-8"
    )
    code, text = said(["init", "größe:Größe"], encoding, monkeypatch)
    file = tmp_path / "made.toml"
    file.write_bytes(text)
    assert code == 0
    assert text.isascii() == (encoding != "utf-8")
    assert run_files.load(file).system_name == "größe:Größe"
    assert run_files.load(file).output.path == "Größe.nc"


def command(words: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Run a line of the shell in which `langevin` is ours."""
    line = words.replace("langevin", f"'{sys.executable}' -m langevin")
    env = {**os.environ, **environment}
    return subprocess.run(["bash", "-c", line], cwd=cwd, env=env, capture_output=True, check=False)


def test_a_locale_without_utf8(quench: Path) -> None:
    plain_locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = command("langevin systems pspin && langevin validate größe.toml", quench.parent, **plain_locale)
    assert done.returncode == 2
    assert done.stdout.isascii() and b"T_i = inf" in done.stdout and b"integer >= 4" in done.stdout
    name = rb"langevin: gr\xc3\xb6\xc3\x9fe.toml"
    assert done.stderr == name + b": cannot read the run file: No such file or directory\n"


def test_closed_output_loses_no_result(quench: Path) -> None:
    done = command("langevin run quench.toml >&-", quench.parent)
    assert (done.returncode, done.stdout) == (1, b"")
    start, error = done.stderr.splitlines()
    assert start.endswith(b": start, t = 0 of 1 (0 %)")
    assert error == b"langevin: cannot write to standard output: Bad file descriptor"
    assert {p.name for p in quench.parent.iterdir()} == {"quench.toml", "quench.nc", "quench.png"}
    quiet = command("langevin run quench.toml --quiet --force <&- >&- 2>&-", quench.parent)
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (0, b"", b"")
    with (quench.parent / "quench.nc").open("rb") as file:
        assert file.read(4) == b"\x89HDF"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is full")
def test_a_full_device_is_one_line(tmp_path: Path) -> None:
    full = b"langevin: cannot write to standard output: No space left on device\n"
    for words, code, line in (
        ("langevin --help >/dev/full", 1, full),
        ("langevin --version >/dev/full 2>/dev/full", 1, b""),
        ("langevin init pspin >/dev/full", 1, full),
        ("langevin rnu 2>/dev/full", 2, b""),
    ):
        done = command(words, tmp_path)
        assert (done.returncode, done.stdout, done.stderr) == (code, b"", line), words


def test_a_reader_that_leaves_is_no_error(tmp_path: Path) -> None:
    done = command("langevin systems pspin | true", tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")


def test_streams_of_others_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = io.StringIO()
    monkeypatch.setattr(sys, "stdout", ours)
    streams.prepare()
    assert sys.stdout is ours
    with pytest.raises(SystemExit):
        main(["--version"])
    assert "version" in ours.getvalue()
