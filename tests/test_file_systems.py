"""File systems that lack something: locks, room, permissions, long names; and paths that are no files."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import socket
import stat
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner
from test_restart import assert_same, interrupted

from langevin.commands import cli
from langevin.config import run_files
from langevin.errors import StorageError, UserError
from langevin.files import disk, locking, netcdf, raw_records, storage
from langevin.files.paths import Paths
from langevin.running.session import Session
from langevin.sweep import simulation

LACKING = [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL, errno.EPERM]


def given(path: Path | str, **record: Any) -> dict[str, Any]:
    return {
        "system": {"name": "harmonic", "n": 20},
        "dynamics": {"temperature": 1.0, "dt": 0.1, "t_max": 2.0},
        "ensemble": {"replicas": 2, "seed": 5},
        "record": {"waiting_times": [0.0, 0.5], "lags": [0.1, 0.3], **record},
        "output": {"path": str(path), "figure": False},
    }


def run_file(folder: Path, settings: dict[str, Any]) -> Path:
    from langevin.config.keys import toml

    lines = []
    for section, keys in settings.items():
        lines += [f"[{section}]", *(f"{toml(k) if '.' in k else k} = {toml(v)}" for k, v in keys.items())]
    (folder / "run.toml").write_text("\n".join(lines))
    return folder / "run.toml"


@pytest.mark.parametrize("number", LACKING)
def test_without_locks_a_run_goes_on_with_one_warning(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lacking(handle: int, operation: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", lacking)
    with pytest.warns(
        locking.Unlocked, match=r"has no locks .*: a second process on .*a\.nc is not kept off"
    ) as said:
        simulation.execute(run_files.load(given(tmp_path / "a.nc")))
    assert len(said) == 1
    done = CliRunner().invoke(cli.main, ["run", str(run_file(tmp_path, given(tmp_path / "b.nc"))), "-q"])
    assert (done.exit_code, done.output.count("\n")) == (0, 1), done.output
    assert done.output.startswith("langevin: warning: the file system of")
    assert_same(tmp_path / "a.nc", tmp_path / "b.nc")


def test_a_lock_that_another_holds_is_no_lack_of_locks(tmp_path: Path) -> None:
    paths = Paths(tmp_path / "a.nc")
    with warnings.catch_warnings(), paths.locked():
        warnings.simplefilter("error")
        with pytest.raises(UserError, match="another process is working on"), paths.locked():
            pass
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def interposed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return an environment in which no file can be locked, by Python or by HDF5."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("needs a C compiler, and an interposed library")
    folder = tmp_path_factory.mktemp("library")
    source, library = folder / "noflock.c", folder / "noflock.so"
    source.write_text(
        "#include <errno.h>\n#include <stdlib.h>\n"
        'int flock(int fd, int op) { (void)fd; (void)op; errno = atoi(getenv("FLOCK_ERRNO")); return -1; }\n'
    )
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    clean = {k: v for k, v in os.environ.items() if k != locking.SWITCH}
    return {**clean, "LD_PRELOAD": str(library), "FLOCK_ERRNO": str(errno.ENOLCK)}


PROGRAM = "from langevin.commands.cli import main; main()"


def command(*arguments: str, cwd: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments], cwd=cwd, env=environment, capture_output=True, text=True
    )


def test_hdf5_does_not_lock_where_it_cannot(interposed: dict[str, str], tmp_path: Path) -> None:
    """A sweep, whose processes write and read files, too."""
    settings = {**given("s.nc"), "sweep": {"dynamics.temperature": [0.5, 1.0]}}
    run_file(tmp_path, settings)
    done = command("run", "run.toml", "--quiet", "--threads", "1", cwd=tmp_path, environment=interposed)
    assert (done.returncode, done.stderr.count("\n")) == (0, 1), done.stderr
    assert "is not kept off" in done.stderr
    # Whoever asks HDF5 for its locks is told how to do without.
    asked = {**interposed, locking.SWITCH: "TRUE"}
    done = command("info", "s.nc", cwd=tmp_path, environment=asked)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert f"{locking.SWITCH}=FALSE" in done.stderr


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.ENOSPC, "no space left on the file system of"),
        (errno.EDQUOT, "the disk quota is used up on the file system of"),
        (errno.EFBIG, "a file may not become larger here"),
        (errno.EIO, os.strerror(errno.EIO)),
        (errno.ESTALE, os.strerror(errno.ESTALE)),
        (errno.EROFS, os.strerror(errno.EROFS)),
    ],
)
@pytest.mark.parametrize("call", ["pwrite", "fsync", "replace"])
def test_what_a_disk_says_is_one_line_and_loses_nothing(
    call: str, number: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = given(tmp_path / "a.nc", configurations="always")
    paths = interrupted(settings, monkeypatch, 4)

    def failing(*told: Any) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch, pytest.raises(StorageError) as caught:
        patch.setattr(*((Path, call) if call == "replace" else (os, call)), failing)
        simulation.execute_resume(paths.result)
    assert said in str(caught.value)
    assert str(caught.value).startswith("cannot write ")
    storage.read_checkpoint(paths.checkpoint)
    assert not list(tmp_path.glob(".*"))
    simulation.execute_resume(paths.result)
    settings["output"]["path"] = str(tmp_path / "whole.nc")
    assert_same(simulation.execute(run_files.load(settings)), paths.result)


@pytest.mark.parametrize("room", [40_000, 150_000])
def test_the_netcdf_library_is_asked_why_it_failed(room: int, tmp_path: Path) -> None:
    """HDF5 knows no more than that a write failed. A limit of the size of files stands for a full disk."""
    settings = given("a.nc", configurations="never", times=[0.1 * k for k in range(20)])
    settings["ensemble"]["replicas"] = 2000
    run_file(tmp_path, settings)
    limited = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({room}, {room})); " + PROGRAM
    done = subprocess.run(
        [sys.executable, "-c", limited, "run", "run.toml", "--quiet"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    assert "a file may not become larger here" in done.stderr
    assert not list(tmp_path.glob(".*"))


def test_a_seal_that_has_no_room_is_not_left_out(tmp_path: Path) -> None:
    """A disk that fills up within the seal takes a part of it, and says nothing, as often as it is asked."""
    sealed = tmp_path / "sealed.nc"
    sealed.write_bytes(bytes(1000))
    program = (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1500, 1500)); from pathlib import Path; "
        f"from langevin.files import sealing; sealing.seal(Path({str(sealed)!r}))"
    )
    done = subprocess.run([sys.executable, "-B", "-c", program], capture_output=True, text=True)
    assert done.returncode == 1
    assert "File too large" in done.stderr


def test_a_folder_that_goes_during_the_run_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out").mkdir()
    finish = Session._finish

    def gone(session: Any, status: str) -> None:
        shutil.rmtree(tmp_path / "out")
        finish(session, status)

    monkeypatch.setattr(Session, "_finish", gone)
    with pytest.raises(StorageError, match=r"cannot write .*: there is no folder .*out any more"):
        simulation.execute(run_files.load(given(tmp_path / "out" / "a.nc")))


def test_a_link_stays_and_its_target_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    target, link = tmp_path / "far" / "b.nc", tmp_path / "a.nc"
    target.write_text("old")
    link.symlink_to(Path("far") / "b.nc")
    simulation.execute(run_files.load(given(link)), force=True)
    assert link.is_symlink()
    assert not target.is_symlink()
    with simulation.open(target) as found:
        assert found.attrs["status"] == "complete"
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["a.nc", "b.nc", "far"]


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_modes_follow_the_umask(mask: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def modes() -> set[int]:
        return {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}

    before = os.umask(mask)
    try:
        paths = interrupted(given(tmp_path / "a.nc", configurations="always"), monkeypatch, 4)
        assert modes() == {0o666 & ~mask}
        simulation.execute_resume(paths.result)
        # As gsd and others do: they make their own files, with modes of their own.
        with disk.replacing(tmp_path / "b") as aside:
            os.close(os.open(aside, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o640))
        assert modes() == {0o666 & ~mask}
    finally:
        os.umask(before)


def fifo(path: Path) -> None:
    os.mkfifo(path)


def listening(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize(
    ("make", "called"), [(fifo, "a FIFO"), (listening, "a socket"), (device, "a device")]
)
def test_what_is_no_file_is_said_to_be_none(
    make: Callable[[Path], None], called: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make(Path("a.nc"))
    for attempt in (
        lambda: simulation.open("a.nc"),
        lambda: simulation.execute(run_files.load(given("a.nc")), force=True),
    ):
        with pytest.raises(UserError, match=f"a.nc.* is {called}"):
            attempt()
    make(Path("b.checkpoint.nc"))
    with pytest.raises(UserError, match=rf"b.checkpoint.nc(: a symbolic link| is {called})"):
        simulation.resume("b.nc")
    for arguments in (["info", "a.nc"], ["plot", "a.nc"], ["compare", "a.nc", "c.nc"]):
        done = CliRunner().invoke(cli.main, arguments)
        assert (done.exit_code, called in done.output, done.output.count("\n")) == (2, True, 1)


@pytest.mark.parametrize("size", [232, 233, 255, 256, 5000])
def test_names_that_are_too_long_are_refused_at_the_start(size: int, tmp_path: Path) -> None:
    """As long a name as is allowed serves a run to its end; the file of its trajectory has 23 bytes more."""
    path = tmp_path / ("n" * (size - 3) + ".nc")
    own = given(path, configurations="always")
    if size == 232:
        with simulation.open(simulation.execute(run_files.load(own))) as found:
            assert "configuration" in found
        assert list(tmp_path.iterdir()) == [path]
        return
    with pytest.raises(UserError, match=r"output\.path = .*the name has [\d,]+ bytes; allowed: up to 232"):
        run_files.load(own)
    # Where [output] is not what is asked, as in a sweep.
    with pytest.raises(UserError, match=r"output\.path = .*too long"):
        Paths(path).check(force=False)
    with pytest.raises(UserError, match=r"no such file|too long"):
        simulation.open(path)
    assert list(tmp_path.iterdir()) == []


def test_folders_without_permission_are_one_line(tmp_path: Path) -> None:
    """In a process of its own, which gives up the rights of the superuser once everything is imported."""
    simulation.execute(run_files.load(given(tmp_path / "a.nc")))
    (tmp_path / "out").mkdir()
    shutil.copy(tmp_path / "a.nc", tmp_path / "out" / "a.nc")
    tmp_path.chmod(0o755)
    program = (
        "import os\nfrom pathlib import Path\nfrom langevin.sweep import simulation\n"
        "from langevin.errors import LangevinError\nfrom langevin.files.paths import Paths\n"
        "simulation.open('a.nc').close()\n"
        "os.getuid() or os.setuid(65534)\n"
        "for act in (lambda: Paths(Path('out/b.nc')).check(False), lambda: simulation.open('out/a.nc')):\n"
        "    try: act(); print('ok')\n"
        "    except LangevinError as error: print(error.exit_code, error)\n"
    )
    told = []
    for mode in (0o555, 0o444):
        (tmp_path / "out").chmod(mode)
        done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        told += done.stdout.splitlines()
    (tmp_path / "out").chmod(0o755)
    # That the file itself may be read shows nothing where the folders above it may not be entered.
    del told[1]
    assert told == [
        "2 output.path = 'out/b.nc': no permission to write in out",
        "2 output.path = 'out/b.nc': Permission denied",
        "2 out/a.nc cannot be read: Permission denied",
    ]


class Frames:
    """A trajectory of one time that no memory holds; nothing of it is written."""

    def __init__(self, replicas: int, dof: int) -> None:
        self.shape = (replicas, dof)
        self.stored = raw_records.Stored("snapshot", "dof", dof, {}, "snapshot_time", (0,))


@pytest.mark.parametrize("shape", [(18, 30_000_000), (1, 600_000_000), (100_000, 10_000)])
def test_configurations_beyond_4_gib_are_stored_in_pieces(shape: tuple[int, int], tmp_path: Path) -> None:
    dataset = xr.Dataset({"energy": (("replica", "time"), np.zeros((shape[0], 1)))}, {"snapshot_time": [0.0]})
    frames: Any = Frames(*shape)
    storage.write_result(dataset, tmp_path / "a.nc", [frames], 0)
    with simulation.open(tmp_path / "a.nc") as found:
        assert found["snapshot"].shape == (1, *shape)
        assert np.prod(found["snapshot"].encoding["chunksizes"]) * 8 <= netcdf.CHUNK
        # One number is one chunk, not all of them.
        assert np.isnan(found["snapshot"][0, -1, -1].item())


@pytest.mark.parametrize("shape", [(3, 4), (5, 2, 1000), (2, 70, 3000), (1, 1, 10**6), (7,), (400_000,)])
@pytest.mark.parametrize("single", [0, 1])
def test_chunks_are_what_lies_together(shape: tuple[int, ...], single: int) -> None:
    made = netcdf.chunks(shape, 8, single)
    assert all(1 <= c <= s for c, s in zip(made, shape, strict=True))
    assert made[:single] == (1,) * single
    assert np.prod(made) * 8 <= netcdf.CHUNK
    # Whole in every dimension behind the one that is divided.
    divided = [axis for axis, (c, s) in enumerate(zip(made, shape, strict=True)) if c < s and axis >= single]
    assert not divided or all(c == 1 for c in made[: divided[-1]])
    if not divided:
        assert made[single:] == shape[single:]
