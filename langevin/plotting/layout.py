"""A figure of a file is drawn and written here; what is drawn depends on what is in the file."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import xarray as xr
from matplotlib.figure import Figure

from langevin.errors import UserError
from langevin.files.disk import replacing
from langevin.results.at_hand import at_hand
from langevin.results.kinds import kind_of
from langevin.results.members import text
from langevin.speech import option

from .inline import shown, write_png
from .numerals import finish
from .registry import Drawing, chosen, drawings
from .sheet import grown, laid_on, remember, styled
from .style import entitle, fit_legends
from .view import selecting, set_axes


def figure(
    dataset: xr.Dataset,
    quantity: str | None = None,
    threshold: float | None = None,
    *,
    width: str | None = None,
    style: str | Path | None = None,
    title: str | None = None,
    waiting_times: Sequence[float] | None = None,
    axes: Mapping[str, Any] | None = None,
    **options: Any,
) -> Figure:
    """Draw a result.

    Where no quantity is asked for, it is the richest figure that the file gives: of a run the energy and msd,
    as Fig. 1 of Baity-Jesi et al. 2018; with a response or a scattering function further panels; with a test
    loss the course of training; of curves, sweeps, planes and ensembles figures of their own.

    Parameters
    ----------
    dataset : Dataset
        A result, or a checkpoint of an unfinished run.
    quantity : str, optional
        One of `quantities(dataset)`: a two-time observable beside the energy, a one-time observable alone, or
        a figure of another kind by its name, such as aging, fdt, hessian.
    threshold : float, optional
        Of msd, for "aging"; chosen if it is not given.
    width : {"column", "page", "slide"}, optional
        What it is printed on: 3.4, 7 or 10 inches. By default a page, of a single panel a column.
    style : str or path, optional
        A file of matplotlib's settings, or a style that matplotlib knows by name.
    title : str, optional
        In place of that of the file; "": none.
    waiting_times : sequence of float, optional
        Those to draw, in the unit of the file, to three digits. Fits are of all, as ever.
    axes : mapping, optional
        "x" or "y" of all panels, "b.y" of panel (b) → "log", "linear" or limits (`view.set_axes`).
    **options
        What a registered figure takes besides.

    Raises
    ------
    UserError
        If there is nothing of that name to draw, or it takes no such option.
    """
    dataset = at_hand(dataset)
    drawing = chosen(dataset, quantity)
    given = {name: v for name, v in {"threshold": threshold, **options}.items() if v is not None}
    _check_options(dataset, drawing, given)
    with laid_on(width, style), selecting(waiting_times), warnings.catch_warnings():
        # Means over what the run did not reach: NaN, and left out of the curves.
        warnings.filterwarnings("ignore", "Mean of empty slice", RuntimeWarning)
        drawn = drawing.draw(dataset, *([quantity] if drawing.family else []), **given)
        set_axes(drawn, axes or {})
        entitle(drawn, str(dataset.attrs.get("title", "")) if title is None else title)
        finish(drawn)
        fit_legends(drawn)
        grown(drawn)
        remember(drawn)
    return shown(drawn)


def _check_options(dataset: xr.Dataset, drawing: Drawing, given: dict[str, Any]) -> None:
    kind = kind_of(dataset)
    for name, value in given.items():
        if name not in drawing.options:
            takers = " or ".join(option("quantity", d.name) for d in drawings(kind) if name in d.options)
            allowed = f"allowed with {takers} only"
            none = f"no figure of {kind.called(dataset)} takes it"
            raise UserError(f"{option(name, text(value))}: {allowed if takers else none}")


def check_format(path: Path) -> None:
    """Make sure that matplotlib can write to a name like this; UserError if it does not know the ending."""
    known = Figure().canvas.get_supported_filetypes()
    if path.suffix.lstrip(".") not in known:
        raise UserError(f"{path}: unknown figure format {path.suffix!r}; allowed: {', '.join(sorted(known))}")


def write(drawn: Figure, path: Path) -> Path:
    """Write a figure; the ending names the format (.png, .pdf, .svg).

    UserError if matplotlib does not know the ending.
    """
    check_format(path)
    with replacing(path) as aside, styled(drawn):
        if path.suffix == ".png":
            write_png(drawn, aside)
        else:
            drawn.savefig(aside, format=path.suffix.lstrip("."))
    return path


def save(
    dataset: xr.Dataset, path: Path, quantity: str | None = None, threshold: float | None = None
) -> Path:
    """Draw the figure of a file and write it; arguments are those of `figure` and `write`."""
    check_format(path)
    return write(figure(dataset, quantity, threshold), path)
