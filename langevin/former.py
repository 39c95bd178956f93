"""Modules that have moved are still found by their former names, with a warning that names the new one.

A user's module of an older project says ``from langevin.keys import Section, key``: it goes on to work.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_DATA = "archives base characters cifar depot idx ljat pickled sameness synthetic trimer"

#: Folder that modules stood in, room that they are in now, their names.
_MOVED = (
    ("", "core.", "dynamics ensemble noise schedule schemes system"),
    ("", "config.", "keys registry"),
    ("", "files.", "provenance"),
    ("", "results.", "summary export"),
    ("", "machine.", "interruption"),
    ("", "commands.", "cli"),
    ("planes.", "analysis.plane.", "command"),
    ("observables.", "observables.aging.", "rescaling"),
    ("observables.", "observables.training.", "regimes"),
    ("observables.", "observables.fits.", "extrapolation"),
    ("observables.", "observables.particles.", "structure"),
    ("observables.", "observables.landscape.", "hessian spectra planes barriers"),
    ("systems.networks.datasets.", "systems.networks.data.", _DATA),
)

#: Former name → new one, both within the package; the first of several has most of what it held.
TABLE = {f"{old}{name}": f"{new}{name}" for old, new, names in _MOVED for name in names.split()} | {
    "simulation": "sweep.simulation config.build",
    "storage": "files.storage files.paths files.raw_records files.disk results.open",
    "stored": "results.configurations",
    "preparation": "machine.reports",
    "comparison": "analysis.compare",
    "ensembling": "analysis.ensemble",
    "planes": "analysis.plane",
    "observables.subaging": "observables.aging.exponent",
    "systems.networks.datasets": "systems.networks.data",
}


class _Former(ModuleType):
    """Has the attributes of the module that it became; `langevin.ensemble` is a function, too."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        for place in _now(self.__name__):
            if hasattr(module := importlib.import_module(place), name):
                return getattr(module, name)
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")

    def __call__(self, *files: Any, **options: Any) -> Any:
        function = getattr(importlib.import_module("langevin.api"), self.__name__.rpartition(".")[2])
        return function(*files, **options)


def _now(former: str) -> list[str]:
    return [f"langevin.{place}" for place in TABLE[former.removeprefix("langevin.")].split()]


class Finder:
    """Finds modules by their former names, and loads them; it is asked last.

    It has what `importlib.abc` asks of a finder and of a loader, without that: to import it takes longer than
    all of `import langevin`.
    """

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: Any = None) -> ModuleSpec | None:
        """Return where a module was, if it has moved."""
        has_moved = fullname.startswith("langevin.") and fullname.removeprefix("langevin.") in TABLE
        loader: Any = self
        return ModuleSpec(fullname, loader, is_package=True) if has_moved else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Return a module that looks up its attributes where they are now."""
        return _Former(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Say where it is now."""
        import warnings

        words = f"{module.__name__} has moved: import {_now(module.__name__)[0]}"
        warnings.warn(words, DeprecationWarning, stacklevel=2)
