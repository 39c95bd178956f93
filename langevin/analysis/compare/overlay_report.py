"""An overlay is printed for the terminal, and written as a CSV file."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from pathlib import Path

from langevin.files.disk import replacing
from langevin.results import words

from .overlay import Overlay
from .overlay_figure import chosen
from .scaled import ScaledResult
from .scales import ALLOWED


def text(found: Overlay) -> str:
    """Return what is shown of each result, and how its axes are scaled."""
    return "\n".join(_lines(found))


def _lines(found: Overlay) -> Iterator[str]:
    for result in found.results:
        yield from _result(found, result)
    yield ""
    shown = [key for key in ALLOWED if key in ("time", "lag") or key in found.quantities]
    for key in shown:
        value = getattr(found.scales, key)
        yield f"{key} = {value}: {ALLOWED[key][value]}"
    if found.notes:
        yield ""
        yield from found.notes


def _result(found: Overlay, result: ScaledResult) -> Iterator[str]:
    yield words.plain(result.name) + (f"  [{result.source}]" if result.source else "")
    way = result.descent
    if way is not None and "energy" in result.curves and found.scales.energy == "fraction":
        yield f"  E₀ = {way.start:.6g}, E∞ = {way.limit:.6g} ({way.known_by})"
    if found.scales.time != "measured":
        unit = f"{result.time_unit:.4g} in the file: " if math.isfinite(result.time_unit) else ""
        yield f"  time 1 of the axis is {unit}{result.time_words}"
    two_time = [q for q in result.curves if q != "energy"]
    if two_time:
        drawn = ", ".join(f"{c.waiting:.4g}" for c in chosen(result.curves[two_time[0]]))
        yield f"  t_w = {drawn} of {len(result.curves[two_time[0]])}"


def write_csv(found: Overlay, path: Path) -> Path:
    """Write every point, in full precision; what is unknown is empty."""
    rows = found.table()
    columns = [rows[name].to_numpy() for name in rows.data_vars]
    with replacing(path) as aside, aside.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(rows.data_vars)
        for row in zip(*columns, strict=True):
            writer.writerow(
                str(v) if isinstance(v, str) else repr(float(v)) * bool(math.isfinite(v)) for v in row
            )
    return path
