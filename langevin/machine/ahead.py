"""What a command needs at its end is loaded while kernels compute; the collector holds up no loading."""

from __future__ import annotations

import atexit
import gc
import importlib
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache


@contextmanager
def uncollected() -> Iterator[None]:
    """Let no garbage be collected: modules are made of objects that stay, and looking through them takes
    a tenth of the time that large libraries take to load.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@cache
def settle() -> None:
    """Let the collector pass over what is there by now, for good; once in a process, at its beginning.

    After large libraries have been loaded it would look through them three times, and again when the process
    ends, which alone takes a tenth of a second.
    """
    gc.freeze()
    atexit.register(leave)


#: Libraries that count at the end of a process what is left of them, and complain, or that load such a one.
_COUNTING = ("jax", "torch", "triton")


def leave() -> None:
    """Let the collector look for nothing any more: the process ends, and all its memory is given back.

    Nothing changes where a library is loaded that would complain of what is left.
    """
    if not any(name in sys.modules for name in _COUNTING):
        gc.disable()
        gc.freeze()


def collect_to_the_end() -> None:
    """Take back what `settle` has said of the end of the process: some objects have work to do there."""
    atexit.unregister(leave)


#: Objects that are made, and not given up, between two looks of the collector: young, middle-aged, old.
_SELDOM = (50_000, 10, 10)


@contextmanager
def seldom_collected() -> Iterator[None]:
    """Let the collector look for garbage seldom: where modules are loaded, but not they alone.

    It goes on looking, once in some megabytes of small objects: what works for long stays within its memory.
    """
    before = gc.get_threshold()
    gc.set_threshold(*_SELDOM)
    try:
        yield
    finally:
        gc.set_threshold(*before)


class LoadingAhead:
    """Loads modules in a thread, from its first call on; to be the `watch` of a run.

    By then the run has loaded what it needs itself. Compiled kernels leave the interpreter to the thread.

    Parameters
    ----------
    modules : str
        Their names.
    """

    def __init__(self, *modules: str) -> None:
        self._modules = modules
        self._begun = False

    def __call__(self, part: float) -> None:
        """Begin, if that has not been."""
        if not self._begun:
            self._begun = True
            # Of a run that ends sooner nobody waits for it.
            threading.Thread(target=self._load, daemon=True, name="loading ahead").start()

    def _load(self) -> None:
        for module in self._modules:
            importlib.import_module(module)
