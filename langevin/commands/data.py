"""Data sets of network systems are listed, explained and fetched."""

from __future__ import annotations

from pathlib import Path

import click

from langevin.errors import UserError

from . import completion
from .options import examples


@click.group(epilog=examples("langevin data list", "langevin data fetch mnist"))
def data() -> None:
    """List the data sets that networks learn from; get them."""


@data.command("list", epilog=examples("langevin data list", "langevin data list gaussian"))
@click.argument("name", required=False, shell_complete=completion.data_sets)
def list_data(name: str | None) -> None:
    """List the data sets; with NAME, its keys with defaults and meaning."""
    click.echo(listing() if name is None else explanation(name))


@data.command(epilog=examples("langevin data fetch mnist", "langevin data fetch cifar10 --directory data"))
@click.argument("name", shell_complete=completion.data_sets)
@click.option(
    "--directory",
    type=click.Path(file_okay=False, path_type=Path),
    help="Keep the files in DIRECTORY/NAME (default: where they are found, else the cache).",
)
def fetch(name: str, directory: Path | None) -> None:
    """Download the data set NAME, unless it is here; check its hashes; print where its files are."""
    click.echo(fetched(name, directory))


def listing() -> str:
    """Return a table of all data sets: name, shape, classes, sizes, where they are on this machine."""
    from langevin.config import registry
    from langevin.core.capabilities import StandsInFiles

    rows: list[tuple[str, ...]] = [("name", "shape", "classes", "training", "test", "where")]
    for name in sorted(registry.names(registry.DATA)):
        data_set = registry.load(name, kind=registry.DATA)
        rows.append(
            (
                name,
                "any" if data_set.shape is None else " × ".join(str(n) for n in data_set.shape),
                "any" if data_set.classes is None else str(data_set.classes),
                *(str(n) for n in data_set.sizes),
                data_set.located() if issubclass(data_set, StandsInFiles) else "made, not stored",
            )
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]) - 1)]
    lines = ["  ".join([*(f"{c:{w}}" for c, w in zip(r, widths, strict=False)), r[-1]]) for r in rows]
    lines += ["", "`langevin data list NAME` shows the keys of one, `langevin data fetch NAME` gets it."]
    return "\n".join(lines)


def explanation(name: str) -> str:
    """Return what a data set is, and its keys with defaults and meaning."""
    from langevin.config import keys, registry

    data_set = registry.load(name, Path.cwd(), registry.DATA)
    summary = (data_set.__doc__ or "").strip().partition("\n")[0]
    return "\n".join(
        [summary, "", "[data]", f"  name = {keys.toml(name)}", *keys.explain(data_set.Parameters)]
    )


def fetched(name: str, directory: Path | None) -> str:
    """Make sure that a data set is on this machine, its hashes right; return where its files are.

    UserError if it has no files, or they are neither here nor to be had.
    """
    from langevin.config import registry
    from langevin.core.capabilities import Fetched

    data_set = registry.load(name, Path.cwd(), registry.DATA)
    if not issubclass(data_set, Fetched):
        raise UserError(f"{name}: nothing to fetch: it is not a data set of files")
    return "\n".join(str(path) for path in data_set.fetch(directory))
