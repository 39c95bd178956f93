"""What a figure is printed on: its width, the size of its text, and the style of whoever prints it.

A figure has the size in which it is printed, so that nothing has to be scaled: a column and a page of a
journal have text of 7 to 9 points, a slide has larger text. How many panels stand side by side follows from
the width.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import matplotlib
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties

from langevin.errors import UserError, first_line, shortened
from langevin.speech import option


@dataclass(frozen=True)
class Sheet:
    """A place that figures are printed on.

    Attributes
    ----------
    inches : float
        Width.
    points : float
        Size of the text.
    tallest : float
        Most inches that a figure is high.
    dots : int
        Of a picture in pixels, in an inch.
    """

    inches: float
    points: float
    tallest: float
    dots: int


#: What `--width` takes.
SHEETS = {
    "column": Sheet(3.4, 8.0, 9.2, 300),
    "page": Sheet(7.0, 8.0, 9.2, 300),
    "slide": Sheet(10.0, 11.0, 7.2, 200),
}

#: Where no width is asked for: a page, of a single panel a column.
_DEFAULT = replace(SHEETS["page"], dots=200)

#: Least width of a panel, in inches for each point of its text; its height over its width; least and most
#: height, in the same unit as its width.
_LEAST, _SHAPE, _LOWEST, _HIGHEST = 0.27, 0.8, 0.265, 0.36

#: Of fonts and lines that follow from the size of the text: points less than that.
_LESS = {
    "font.size": 0.0,
    "axes.labelsize": 0.0,
    "axes.titlesize": 0.0,
    "figure.titlesize": -0.5,
    "xtick.labelsize": 0.5,
    "ytick.labelsize": 0.5,
    "legend.fontsize": 1.0,
    "legend.title_fontsize": 0.5,
}

_HOUSE: Any = {
    "legend.frameon": False,
    "legend.handlelength": 1.6,
    "xtick.direction": "in",
    "ytick.direction": "in",
    "xtick.top": True,
    "ytick.right": True,
    "lines.linewidth": 1.3,
    "axes.linewidth": 0.7,
    "axes.titlepad": 4.0,
    "axes.formatter.use_mathtext": True,
    "figure.dpi": 150,
    # Letters as letters: journals refuse Type 3.
    "pdf.fonttype": 42,
    "ps.fonttype": 42,
}

#: Settings of a session, which are no part of a look.
_OF_SESSIONS = (
    "backend",
    "interactive",
    "toolbar",
    "timezone",
    "webagg",
    "tk.",
    "savefig.directory",
    "date.",
)

_SHEET: ContextVar[Sheet] = ContextVar("sheet", default=_DEFAULT)
_ROW: ContextVar[float] = ContextVar("row", default=2.8)
_CHOSEN: ContextVar[bool] = ContextVar("chosen", default=False)
_SETTINGS: ContextVar[dict[str, Any]] = ContextVar("settings", default={})  # noqa: B039 -- never changed

#: The style in which a figure was drawn: what is set when it is written is a part of it.
_STYLES: WeakKeyDictionary[Figure, dict[str, Any]] = WeakKeyDictionary()


@contextmanager
def laid_on(width: str | None = None, style: str | Path | None = None) -> Iterator[None]:
    """Draw what is drawn inside for a width, in a style.

    Parameters
    ----------
    width : {"column", "page", "slide"}, optional
        By default that of the style's figure.figsize, if it has one, else a page, of a single panel a column.
    style : str or path, optional
        A file of matplotlib's settings, or the name of a style that matplotlib knows; it goes before the
        house's.

    Raises
    ------
    UserError
        If there is no such width or style, or the file holds anything else.
    """
    if width is not None and width not in SHEETS:
        raise UserError(f"{option('width', repr(shortened(str(width))))}: allowed: {', '.join(SHEETS)}")
    given = {} if style is None else _settings(style)
    sheet = _DEFAULT if width is None else SHEETS[width]
    chosen = width is not None
    if not chosen and "figure.figsize" in given:
        sheet, chosen = replace(sheet, inches=float(given["figure.figsize"][0])), True
    rc: Any = {**settings(sheet), **given}
    with matplotlib.rc_context(rc):
        points = float(matplotlib.rcParams["font.size"])
        on, by, of = _SHEET.set(replace(sheet, points=points)), _CHOSEN.set(chosen), _SETTINGS.set(rc)
        try:
            yield
        finally:
            _SHEET.reset(on)
            _CHOSEN.reset(by)
            _SETTINGS.reset(of)


def settings(sheet: Sheet = _DEFAULT) -> dict[str, Any]:
    """Return the house's settings of matplotlib for a sheet."""
    sizes = {name: sheet.points - less for name, less in _LESS.items()}
    return {**_HOUSE, **sizes, "savefig.dpi": sheet.dots}


def _settings(style: str | Path) -> dict[str, Any]:
    """Return what a style sets of figures."""
    import matplotlib.style as styles

    path, name = Path(style), str(style)
    if name in styles.library:
        found: Any = styles.library[name]
    elif path.is_file():
        found = _read(path)
    else:
        from langevin.config.toml_text import nearest

        like = nearest(name, sorted(styles.library))
        raise UserError(
            f"{option('style', repr(shortened(name)))}: no such file, nor a style of matplotlib; "
            f"nearest: {like}; allowed: a file such as paper.mplstyle, or one of matplotlib.style.available"
        )
    return {key: value for key, value in found.items() if not key.startswith(_OF_SESSIONS)}


class _Heard(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def _read(path: Path) -> Any:
    """Return the settings of a file; UserError where matplotlib finds a fault in it."""
    heard, log = _Heard(), logging.getLogger("matplotlib")
    silent, log.propagate = log.propagate, False
    log.addHandler(heard)
    try:
        found: Any = matplotlib.rc_params_from_file(path, use_default_template=False)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{option('style', path)}: {first_line(error)}") from None
    finally:
        log.removeHandler(heard)
        log.propagate = silent
    if heard.lines:
        said = " ".join(" ".join(heard.lines).split())
        raise UserError(f"{option('style', path)}: no file of matplotlib's settings: {shortened(said, 160)}")
    return found


def small() -> Any:
    """Return the size of text inside panels, that of legends."""
    return matplotlib.rcParams["legend.fontsize"]


def points() -> float:
    """Return the size of text."""
    return _SHEET.get().points


def letters(inches: float, size: Any = None) -> int:
    """Return how many letters stand in so many inches; of text of the size of titles, or another."""
    chosen = matplotlib.rcParams["figure.titlesize"] if size is None else size
    # A style may have a word for it, such as "large".
    points = FontProperties(size=chosen).get_size_in_points()
    # A letter is some 0.55 times as wide as it is high.
    return max(8, int(72 * inches / (0.55 * points)))


def columns_of(count: int, most: int) -> int:
    """Return in how many columns `count` panels stand: as many as wanted, and there is room for."""
    sheet = _SHEET.get()
    columns = max(1, min(count, most, int(sheet.inches / (_LEAST * sheet.points))))
    # No more columns than the rows that they need fill.
    return math.ceil(count / math.ceil(count / columns))


def size_of(rows: int, columns: int, tall: float = 1.0, wide: bool = False) -> tuple[float, float]:
    """Return width and height in inches of a figure of panels, `tall` times as high as usual.

    Legends and titles around them are not in it (`grown`). `wide` panels have a page where no width is asked
    for, a single one as well.
    """
    sheet = _SHEET.get()
    inches = (
        sheet.inches if _CHOSEN.get() or columns > 1 or wide else min(sheet.inches, SHEETS["column"].inches)
    )
    panel = min(max(_SHAPE * inches / columns, _LOWEST * sheet.points), _HIGHEST * sheet.points)
    height = min(rows * panel * tall, _room(sheet))
    _ROW.set(height / rows)
    return inches, height


def frame() -> float:
    """Return about how many inches the frame of a panel is high, without its ticks, label and letter."""
    return _ROW.get() - 0.06 * _SHEET.get().points


def label_letters(most: int) -> int:
    """Return how many letters a line of a label beside a panel holds, `most` at most.

    It may be somewhat longer than the frame, which leaves room for its ticks, its label and its title.
    """
    return min(most, int(1.3 * letters(frame(), matplotlib.rcParams["axes.labelsize"])))


def _room(sheet: Sheet) -> float:
    """Return the most inches of panels above which title and legend have room."""
    return sheet.tallest - 0.1 * sheet.points


def grown(drawn: Figure) -> None:
    """Make a figure higher by its title and by the legends around its panels, as far as the sheet allows."""
    # Sizes of text need no canvas.
    of_text: Any = RendererAgg
    renderer = of_text(1, 1, drawn.dpi)
    title = drawn._suptitle  # type: ignore[attr-defined]
    around = [*drawn.legends, *([title] if title is not None and title.get_text() else [])]
    further = sum(own.get_window_extent(renderer).height for own in around) / drawn.dpi
    further += 0.04 * len(around)
    wide, tall = drawn.get_size_inches()
    drawn.set_size_inches(wide, max(tall, min(tall + further, _SHEET.get().tallest)))


def remember(drawn: Figure) -> None:
    """Keep the style that a figure is drawn in, for when it is written."""
    _STYLES[drawn] = _SETTINGS.get()


@contextmanager
def styled(drawn: Figure) -> Iterator[None]:
    """Write a figure in the style that it was drawn in."""
    kept: Any = _STYLES.get(drawn, {})
    with matplotlib.rc_context(kept):
        yield
