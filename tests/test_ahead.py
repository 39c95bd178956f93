"""What a command needs at its end is loaded beside its work, and garbage waits while modules load."""

from __future__ import annotations

import gc
import sys
import threading

import pytest

from langevin.machine.ahead import LoadingAhead, uncollected


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
