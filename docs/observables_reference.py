"""One page of the reference for each module and room of `langevin.observables` is written here."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from pathlib import Path
from types import ModuleType

import langevin.observables


def public(module: ModuleType) -> list[str]:
    """Return what a module offers: its `__all__`, or the functions and classes that it defines itself."""
    offered = getattr(module, "__all__", None)
    if offered is None:
        offered = [
            name
            for name, thing in vars(module).items()
            if not name.startswith("_") and getattr(thing, "__module__", None) == module.__name__
        ]
    return [
        name
        for name in offered
        if inspect.isclass(getattr(module, name)) or inspect.isfunction(getattr(module, name))
    ]


def page(module: ModuleType, names: list[str]) -> str:
    """Return the text of a module's page, in reStructuredText."""
    title = module.__name__.rpartition(".")[2]
    lines = [title, "=" * len(title), "", f".. automodule:: {module.__name__}", "   :no-members:", ""]
    lines += [f".. currentmodule:: {module.__name__}", "", ".. autosummary::", "   :nosignatures:", ""]
    lines += [*(f"   {name}" for name in names), ""]
    for name in names:
        if inspect.isclass(getattr(module, name)):
            lines += [f".. autoclass:: {name}", "   :members:", ""]
        else:
            lines += [f".. autofunction:: {name}", ""]
    return "\n".join(lines)


def write(folder: Path) -> list[str]:
    """Write all pages and their table of contents to a folder; what has not changed is left alone.

    Returns
    -------
    list of str
        Names of the modules, in alphabetical order.
    """
    folder.mkdir(parents=True, exist_ok=True)
    texts = {}
    for found in pkgutil.iter_modules(langevin.observables.__path__):
        module = importlib.import_module(f"langevin.observables.{found.name}")
        if names := public(module):
            texts[found.name] = page(module, names)
    for stale in set(folder.glob("*.rst")) - {folder / f"{name}.rst" for name in texts}:
        stale.unlink()
    for name, text in texts.items():
        file = folder / f"{name}.rst"
        if not file.exists() or file.read_text(encoding="utf-8") != text:
            file.write_text(text, encoding="utf-8")
    return sorted(texts)
