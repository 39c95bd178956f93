"""How modules of users are made: from the source that was looked at, or as another name of a loaded one."""

from __future__ import annotations

import builtins
import importlib
import types
from functools import partial
from importlib.abc import Loader
from importlib.machinery import ModuleSpec, SourceFileLoader
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .loading import Unit


class Pinned(SourceFileLoader):
    """Runs the source that was looked at; keeps no bytecode, and reads none.

    Parameters
    ----------
    name : str
        Of the module among all modules.
    own : str
        The name that its folder knows it by.
    unit : Unit
        What it belongs to.
    """

    def __init__(self, name: str, own: str, unit: Unit) -> None:
        self.own, self.unit, self.file = own, unit, unit.files[own]
        super().__init__(name, str(self.file.path))

    def get_code(self, fullname: str) -> types.CodeType:
        """Return the compiled source."""
        code: types.CodeType = self.source_to_code(self.file.raw, self.path)
        return code

    def exec_module(self, module: types.ModuleType) -> None:
        """Run the source, with imports of its own."""
        further = {"__import__": partial(self.unit.imported, self.own)}
        module.__dict__["__builtins__"] = {**vars(builtins), **further}
        super().exec_module(module)


class Alias(Loader):
    """Gives a module another name."""

    def __init__(self, name: str) -> None:
        self.name = name

    def create_module(self, spec: ModuleSpec) -> types.ModuleType:
        """Return the module."""
        made = importlib.import_module(self.name)
        self.spec = made.__spec__
        return made

    def exec_module(self, module: types.ModuleType) -> None:
        """Leave the module as it is."""
        module.__spec__ = self.spec
