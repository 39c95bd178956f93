"""Data sets of xarray have `ds.langevin` from `import langevin` on, and that loads no xarray.

xarray knows no entry point for accessors, and its import takes longer than all of `import langevin`. So the
accessor is registered at once where xarray is loaded, else at the end of its import, whoever wants it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

#: The name of the accessor.
NAME = "langevin"


def attach() -> None:
    """Register the accessor, now or when xarray is imported."""
    xarray = sys.modules.get("xarray")
    if xarray is not None and hasattr(xarray, "register_dataset_accessor"):
        _register(xarray)
    elif not any(isinstance(finder, AtImport) for finder in sys.meta_path):
        sys.meta_path.insert(0, AtImport("xarray", _register))


def _register(xarray: Any) -> None:
    if not hasattr(xarray.Dataset, NAME):
        xarray.register_dataset_accessor(NAME)(_accessor)


def _accessor(dataset: Any) -> Any:
    """Make the accessor of a dataset; its module is loaded with the first one."""
    from .accessor import Accessor

    return Accessor(dataset)


class AtImport:
    """A finder that finds nothing itself: it has a function called when a module has been imported, once.

    It has what `importlib.abc` asks of a finder, without that: to import it takes longer than all the rest.

    Parameters
    ----------
    name : str
        Full name of the module.
    then : callable
        Is given the module.
    """

    def __init__(self, name: str, then: Callable[[ModuleType], None]) -> None:
        self.name, self.then = name, then

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: Any = None) -> ModuleSpec | None:
        """Return what the other finders find, with the function at the end of its execution."""
        if fullname != self.name:
            return None
        spec = next(filter(None, (self._asked(finder, path, target) for finder in sys.meta_path)), None)
        loader: Any = None if spec is None else spec.loader
        if hasattr(loader, "exec_module"):
            execute = loader.exec_module

            def executed(module: ModuleType) -> None:
                execute(module)
                if self in sys.meta_path:
                    sys.meta_path.remove(self)
                self.then(module)

            # Of this loader alone: there is one for each module.
            loader.exec_module = executed
        return spec

    def _asked(self, finder: Any, path: Sequence[str] | None, target: Any) -> ModuleSpec | None:
        find = None if finder is self else getattr(finder, "find_spec", None)
        spec: ModuleSpec | None = None if find is None else find(self.name, path, target)
        return spec
