"""What a command needs at its end is loaded beside its work, and garbage waits while modules load."""

from __future__ import annotations

import atexit
import gc
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from test_draughtsman import CLI, MODULE, RUN

from langevin.machine.ahead import LoadingAhead, leave, seldom_collected, settle, uncollected


def test_modules_are_loaded_once_in_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("wave", "chunk"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    ahead = LoadingAhead("wave")
    assert "wave" not in sys.modules
    ahead(0.1)
    for thread in threading.enumerate():
        if thread.name == "loading ahead":
            assert thread.daemon
            thread.join(60)
    assert "wave" in sys.modules
    monkeypatch.delitem(sys.modules, "wave")
    ahead(0.2)
    assert not [thread for thread in threading.enumerate() if thread.name == "loading ahead"]


@pytest.mark.parametrize("before", [True, False])
def test_the_collector_is_as_before(before: bool) -> None:
    was = gc.isenabled()
    try:
        (gc.enable if before else gc.disable)()
        with pytest.raises(ValueError, match="out"), uncollected():
            assert not gc.isenabled()
            raise ValueError("out")
        assert gc.isenabled() is before
    finally:
        (gc.enable if was else gc.disable)()


def test_the_collector_looks_seldom_for_a_while() -> None:
    before, held = gc.get_threshold(), []
    with pytest.raises(ValueError, match="out"), seldom_collected():
        gc.collect()
        done = gc.get_stats()[0]["collections"]
        held = [[] for _ in range(20_000)]
        assert gc.get_stats()[0]["collections"] == done
        # It does look: what works for long leaves garbage.
        held += [[] for _ in range(100_000)]
        assert gc.get_stats()[0]["collections"] > done
        raise ValueError("out")
    assert gc.get_threshold() == before


def test_what_is_there_at_the_beginning_is_passed_over_once() -> None:
    settle.cache_clear()
    frozen = gc.get_freeze_count()
    try:
        settle()
        assert gc.get_freeze_count() > frozen
        frozen = gc.get_freeze_count()
        kept = [[] for _ in range(1000)]
        settle()
        assert gc.get_freeze_count() == frozen
        assert len(kept) == 1000
    finally:
        gc.unfreeze()
        atexit.unregister(leave)


def test_a_process_that_ends_looks_for_no_garbage_and_files_are_written_all_the_same(tmp_path: Path) -> None:
    """What modules hold is given up one by one, whatever the collector does."""
    (tmp_path / "holder.py").write_text("file = open('held.txt', 'w')\nfile.write('held')\n")
    program = """
import atexit, gc, sys
# Called last.
atexit.register(lambda: print(gc.isenabled(), gc.get_count()[0] < 100))
import holder
from langevin.machine.ahead import settle
settle()
"""
    made = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert made.stdout == "False True\n"
    assert (tmp_path / "held.txt").read_text() == "held"


def test_libraries_that_count_what_is_left_have_nothing_to_complain_of() -> None:
    pytest.importorskip("triton")
    program = "from langevin.machine.ahead import settle; settle(); import triton"
    made = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert made.stderr == ""


@pytest.mark.parametrize("name", ["jax", "torch", "triton"])
def test_beside_them_the_collector_goes_on(name: str) -> None:
    program = f"""
import atexit, gc, sys, types
atexit.register(lambda: print(gc.isenabled()))
from langevin.machine.ahead import settle
settle()
sys.modules["{name}"] = types.ModuleType("{name}")
"""
    made = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert made.stdout == "True\n"


HOLDER = """
import os

class Holder:
    def __init__(self):
        self.itself = self

    def __del__(self, write=os.write):
        write(1, b"given up")

holder = Holder()
"""


def test_what_code_of_a_user_holds_is_given_up_at_the_end(tmp_path: Path) -> None:
    (tmp_path / "springs.py").write_text(MODULE + HOLDER)
    (tmp_path / "run.toml").write_text(RUN.format(name="springs:Springs", path="springs.nc"))
    made = subprocess.run(
        [sys.executable, "-c", CLI, "run", "run.toml", "--threads", "1"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert made.returncode == 0, made.stderr
    assert made.stdout.endswith("figure  springs.png\ngiven up")
