"""What `langevin data` prints: the data sets of network systems, and where they lie."""

from __future__ import annotations

from pathlib import Path

from langevin.config import keys, registry
from langevin.core.capabilities import Fetched, StandsInFiles
from langevin.errors import UserError


def listing() -> str:
    """Return a table of all data sets: name, shape, classes, sizes, where they are on this machine."""
    rows: list[tuple[str, ...]] = [("name", "shape", "classes", "training", "test", "where")]
    for name in sorted(registry.names(registry.DATA)):
        found = registry.load(name, kind=registry.DATA)
        rows.append(
            (
                name,
                "any" if found.shape is None else " × ".join(str(n) for n in found.shape),
                "any" if found.classes is None else str(found.classes),
                *(str(n) for n in found.sizes),
                found.located() if issubclass(found, StandsInFiles) else "made, not stored",
            )
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]) - 1)]
    lines = ["  ".join([*(f"{c:{w}}" for c, w in zip(r, widths, strict=False)), r[-1]]) for r in rows]
    lines += ["", "`langevin data list NAME` shows the keys of one, `langevin data fetch NAME` gets it."]
    return "\n".join(lines)


def explanation(name: str) -> str:
    """Return what a data set is, and its keys with defaults and meaning."""
    found = registry.load(name, Path.cwd(), registry.DATA)
    summary = (found.__doc__ or "").strip().partition("\n")[0]
    return "\n".join([summary, "", "[data]", f"  name = {keys.toml(name)}", *keys.explain(found.Parameters)])


def fetched(name: str, directory: Path | None) -> str:
    """Make sure that a data set is on this machine, its hashes right; return where its files are.

    Raises
    ------
    UserError
        If it has no files, or they are neither here nor to be had.
    """
    found = registry.load(name, Path.cwd(), registry.DATA)
    if not issubclass(found, Fetched):
        raise UserError(f"{name}: nothing to fetch: it is not a data set of files")
    return "\n".join(str(path) for path in found.fetch(directory))
