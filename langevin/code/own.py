"""The sources of this package have a hash, by which two installations of it are told apart."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.util import find_spec
from pathlib import Path


@cache
def own_sources() -> str:
    """Return a hash of all sources of this package, wherever its folders are installed."""
    files: dict[str, Path] = {}
    for package in ("langevin", "langevin.observables", "langevin.systems"):
        spec = find_spec(package)
        for folder in (spec.submodule_search_locations or ()) if spec else ():
            for path in Path(folder).rglob("*.py"):
                files[f"{package.replace('.', '/')}/{path.relative_to(folder)}"] = path
    total = hashlib.sha256()
    for name, path in sorted(files.items()):
        content = path.read_bytes()
        total.update(f"{name} {len(content)}\n".encode() + content)
    return total.hexdigest()
