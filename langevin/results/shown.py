"""The summary of a result is text in a terminal, and a table in a notebook."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import xarray as xr

#: Attributes that a notebook folds away: they are long.
_LONG = ("versions", "history")

_CELL = "text-align: left; vertical-align: top; padding: 0 1em 0 0; white-space: pre-wrap"


@dataclass(frozen=True, repr=False)
class Summary:
    """What is in a result, and where it comes from; `str` gives the lines of `langevin info`.

    Attributes
    ----------
    called : str
        What it is: "a run", "a sweep over temperature".
    origin : dict
        Attribute of the file → its text: title, status, system, versions, …
    sizes : dict
        Dimension → size.
    variables : tuple of (str, str, str)
        Each with its dimensions, its meaning, and its unit.
    results : str
        What came out, in lines whose columns are aligned.
    text : str
        All of it, as `langevin info` prints it.
    """

    called: str
    origin: dict[str, str]
    sizes: dict[str, int]
    variables: tuple[tuple[str, str, str], ...]
    results: str
    text: str

    @classmethod
    def of(cls, dataset: xr.Dataset) -> Summary:
        """Sum up a result."""
        from . import summary
        from .kinds import kind_of

        return cls(
            kind_of(dataset).called(dataset),
            summary.origin(dataset),
            {str(name): size for name, size in dataset.sizes.items()},
            tuple(summary.variables(dataset)),
            results := summary.results(dataset),
            summary.contents(dataset, results),
        )

    def __str__(self) -> str:
        """Return the lines of `langevin info`."""
        return self.text

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """Return the same for a notebook: results first, the rest folded."""
        title = self.origin.get("title") or self.called
        short = {name: text for name, text in self.origin.items() if name not in ("title", *_LONG)}
        long = {name: self.origin[name] for name in _LONG if name in self.origin}
        sizes = ", ".join(f"{name} {size}" for name, size in self.sizes.items())
        return (
            f"<div><b>{escape(title)}</b> ({escape(self.called)})"
            f"<pre style='margin: 0.5em 0; line-height: 1.3'>{escape(self.results)}</pre>"
            + _folded("where it comes from", _table({**short, "dimensions": sizes}.items()))
            + _folded(f"{len(self.variables)} variables", _table(self.variables))
            + (_folded("versions and history", _table(long.items())) if long else "")
            + "</div>"
        )


def _folded(title: str, body: str) -> str:
    return f"<details><summary>{escape(title)}</summary>{body}</details>"


def _table(rows: Iterable[Iterable[str]]) -> str:
    lines = [
        "<tr>" + "".join(f"<td style='{_CELL}'>{escape(str(cell))}</td>" for cell in row) + "</tr>"
        for row in rows
    ]
    return f"<table style='margin: 0.3em 0'>{''.join(lines)}</table>"
