"""Compiled functions on disk: kept where that is possible, compiled anew where it is not, never mixed up."""

from __future__ import annotations

import ast
import errno
import importlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm
import numba
import pytest

from langevin.machine import kernel_cache, notices

ROOT = Path(__file__).parent.parent

#: A module with a kernel, and one that it calls.
HELPER = """
from langevin.machine.kernel_cache import njit

@njit(error_model="numpy")
def half(x):
    return x / 2
"""
KERNEL = """
from kernel_helper import half
from langevin.machine.kernel_cache import njit

@njit(error_model="numpy")
def add(x, y):
    return half(x) + y

"""


#: A kernel with numbers of another module, and with one that it calls and that stands below it.
BELOW = """
import kernel_numbers
from kernel_helper import half
from kernel_numbers import FACTORS
from langevin.machine.kernel_cache import njit

@njit(error_model="numpy")
def add(x, y):
    return below(x) * FACTORS[1] * kernel_numbers.PART + y

@njit(error_model="numpy")
def below(x):
    return half(x)

"""
NUMBERS = "FACTORS, PART = (1.0, 2.0), 0.5"

#: Kernels with objects, random numbers, linear algebra, errors; and one that needs what a registry brings.
MANY = """
import sys
import numba
import numpy as np
from langevin.machine.kernel_cache import njit

@njit(error_model="numpy")
def objects(a, generator, word):
    if a[0, 0] < 0:
        raise ValueError("negative")
    known = {word: hash(word)}
    return np.linalg.inv(a)[0, 0] + generator.standard_normal() + (known[word] % 7)

@njit(**{"parallel": True})
def shared(a):
    total = 0.0
    for i in numba.prange(len(a)):
        total += a[i]
    return total

def registries():
    return "numba.typed.typedlist" in sys.modules

values = [objects(2 * np.eye(3), np.random.default_rng(1), "word")]
try:
    objects(-np.eye(3), np.random.default_rng(1), "word")
except ValueError as error:
    values.append(str(error))
before = registries()
values.append(shared(np.ones(10)))
hits = sum(sum(k.stats.cache_hits.values()) for k in (objects, shared))
print(repr((values, hits, before, registries())))
"""


@pytest.fixture
def ask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[bool, str]]:
    """Return what imports the modules afresh and calls the kernel, as a new process would.

    It says whether the kernel came from the disk, and what was said on stderr.
    """
    (tmp_path / "kernel_helper.py").write_text(HELPER)
    (tmp_path / "kernel.py").write_text(KERNEL)
    (tmp_path / "kernel_numbers.py").write_text(NUMBERS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def call(expected: float = 2.5, **environment: str) -> tuple[bool, str]:
        for name, value in {"NUMBA_CACHE_DIR": str(tmp_path / "cache"), **environment}.items():
            monkeypatch.setenv(name, value)
        numba.core.config.reload_config()
        monkeypatch.setattr(notices, "_said", set())
        kernel_cache._file_digest.cache_clear()
        for name in ("kernel_helper", "kernel_numbers", "kernel"):
            monkeypatch.delitem(sys.modules, name, raising=False)
        importlib.invalidate_caches()
        kernel = importlib.import_module("kernel")
        assert kernel.add(3.0, 1.0) == expected
        return bool(kernel.add.stats.cache_hits), capsys.readouterr().err

    return call


@pytest.fixture(autouse=True)
def _configured() -> Iterator[None]:
    """Numba reads its environment anew when a test is over."""
    yield
    numba.core.config.reload_config()


def files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*add*.kernel"))


def test_a_kernel_is_kept(ask: Callable[..., Any], tmp_path: Path) -> None:
    assert ask() == (False, "")
    assert ask() == (True, "")
    assert len(files(tmp_path)) == 1


def test_a_kernel_from_the_disk_loads_registries_only_if_it_needs_them(tmp_path: Path) -> None:
    (tmp_path / "many.py").write_text(MANY)
    given = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache"), "PYTHONHASHSEED": "1"}
    answers = []
    for _ in range(2):
        made = subprocess.run([sys.executable, "many.py"], cwd=tmp_path, env=given, capture_output=True)
        assert made.returncode == 0, made.stderr
        answers.append(ast.literal_eval(made.stdout.decode()))
    (first, hits, compiled, _), (second, again, loaded, at_last) = answers
    assert (hits, again) == (0, 2)
    assert first == second
    assert (compiled, loaded, at_last) == (True, False, True)


@pytest.mark.parametrize(
    "damage",
    [
        lambda raw: b"",
        lambda raw: raw[:10],
        lambda raw: raw[: len(raw) // 2],
        lambda raw: bytes(len(raw)),
        # One bit, in the middle of the machine code: numba would run it.
        lambda raw: raw[: len(raw) // 2] + bytes([raw[len(raw) // 2] ^ 1]) + raw[len(raw) // 2 + 1 :],
        lambda raw: raw + b"more",
    ],
    ids=["empty", "short", "half", "zeros", "bit", "longer"],
)
def test_a_damaged_file_is_as_good_as_none(
    ask: Callable[..., Any], tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    ask()
    (path,) = files(tmp_path)
    path.write_bytes(damage(path.read_bytes()))
    assert ask() == (False, "")
    assert ask() == (True, "")


def test_a_kernel_is_compiled_anew_when_one_that_it_calls_has_changed(
    ask: Callable[..., Any], tmp_path: Path
) -> None:
    ask()
    (tmp_path / "kernel_helper.py").write_text(HELPER.replace("x / 2", "x / 4"))
    assert ask(1.75) == (False, "")


@pytest.mark.parametrize(
    "name, before, after, expected",
    [
        ("kernel_numbers", "2.0", "4.0", 4.0),
        ("kernel_numbers", "0.5", "0.25", 1.75),
        ("kernel_helper", "x / 2", "x / 4", 1.75),
    ],
)
def test_a_kernel_is_compiled_anew_when_a_number_changes_or_what_stands_below_it(
    ask: Callable[..., Any], tmp_path: Path, name: str, before: str, after: str, expected: float
) -> None:
    (tmp_path / "kernel.py").write_text(BELOW)
    ask()
    assert ask() == (True, "")
    path = tmp_path / f"{name}.py"
    path.write_text(path.read_text().replace(before, after))
    assert ask(expected) == (False, "")


def test_a_processor_has_files_of_its_own(ask: Callable[..., Any], tmp_path: Path) -> None:
    host = str(numba.core.config.CPU_NAME or llvm.get_host_cpu_name())
    ask(NUMBA_CPU_NAME=host)
    assert ask(NUMBA_CPU_NAME="generic") == (False, "")
    assert ask(NUMBA_CPU_NAME=host) == (True, "")
    assert len(files(tmp_path)) == 2


def test_the_processor_that_is_there_counts_not_only_the_one_compiled_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nodes that differ share a home, and NUMBA_CPU_NAME, too: constants in modules differ all the same.
    def plain() -> int:
        return 1

    kept = kernel_cache._Files(str(tmp_path), "plain", plain)
    kept.save(("key",), 3)
    assert kept.load(("key",)) == 3
    monkeypatch.setattr(kernel_cache, "_machine", lambda: ("another",))
    assert kept.load(("key",)) is None


@pytest.mark.parametrize("how", ["a file", "below a file"])
def test_a_folder_that_cannot_be_made_is_said_once(ask: Callable[..., Any], tmp_path: Path, how: str) -> None:
    (tmp_path / "cache").write_text("not a folder")
    (tmp_path / "__pycache__").write_text("nor this")
    given = str(tmp_path / "cache" / ("further" if how == "below a file" else ""))
    nowhere = {"HOME": given, "XDG_CACHE_HOME": given, "NUMBA_CACHE_DIR": given}
    hit, complaint = ask(**nowhere)
    assert not hit
    # Of two kernels.
    assert complaint.count("\n") == 1
    assert complaint.startswith("langevin: compiled functions are not kept (")
    assert "NUMBA_CACHE_DIR" in complaint


def test_other_processes_of_a_command_are_silent() -> None:
    said_twice = "notices.once('kernels', 'so it is'); notices.once('kernels', 'again')"
    code = f"from langevin.machine import notices; {said_twice}"
    for speaks, said in ((True, "langevin: so it is\n"), (False, "")):
        made = subprocess.run(
            [sys.executable, "-c", code], env=notices.environment(speaks), capture_output=True, text=True
        )
        assert made.stderr == said


def test_nobody_without_a_home_leaves_a_folder_named_tilde(
    ask: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cache").write_text("not a folder")
    (tmp_path / "__pycache__").write_text("nor this")
    # What `expanduser` answers where neither HOME nor the list of users knows a home.
    monkeypatch.chdir(tmp_path)
    _, complaint = ask(XDG_CACHE_HOME="~/.cache")
    assert complaint.count("\n") == 1
    assert not (tmp_path / "~").exists()


def test_a_full_disk_is_said_once_and_the_kernel_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    numba.core.config.reload_config()
    monkeypatch.setattr(notices, "_said", set())
    written = Path.write_bytes

    def full(path: Path, contents: bytes) -> int:
        written(path, contents[:100])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)

    @kernel_cache.njit(error_model="numpy")
    def twice(x):  # type: ignore[no-untyped-def]
        return 2 * x

    assert (twice(2.0), twice(2)) == (4.0, 4)
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "No space left on device" in said
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_two_that_write_at_once_do_not_mix_up_their_types(tmp_path: Path) -> None:
    # Numba's index is read, changed and written: of two processes both may take the same name for their data.
    def plain() -> int:
        return 1

    one, other = (kernel_cache._Files(str(tmp_path), "plain", plain) for _ in range(2))
    one.save(("float32",), "single")
    other.save(("float64",), "double")
    assert (one.load(("float64",)), other.load(("float32",))) == ("double", "single")


def test_no_module_has_numba_keep_its_kernels() -> None:
    keeps = []
    for path in [p for room in ("langevin", "systems", "observables") for p in (ROOT / room).rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            named = isinstance(node, ast.keyword) and node.arg == "cache"
            if named or (isinstance(node, ast.Dict) and any(_is_cache(k) for k in node.keys)):
                keeps.append(path)
            # Nor its threads, which no process forked after their use survives.
            if isinstance(node, ast.keyword) and node.arg == "parallel":
                keeps.append(path)
    assert keeps == []


def _is_cache(key: ast.expr | None) -> bool:
    return isinstance(key, ast.Constant) and key.value == "cache"
