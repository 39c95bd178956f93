"""Figures of the gallery's examples are kept here: those that langevin returns know nothing of pyplot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from sphinx_gallery.scrapers import figure_rst


def scrape(block: tuple[Any, ...], block_vars: dict[str, Any], gallery_conf: dict[str, Any]) -> str:
    """Save each figure that a block of an example has left in a variable, once, and return its directive.

    Parameters
    ----------
    block : tuple
        Kind, text and first line of the block.
    block_vars : dict
        What sphinx-gallery knows of the example: its variables, and the paths of its next images.
    gallery_conf : dict
        The configuration of the gallery.

    Returns
    -------
    str
        The directive that shows the figures.
    """
    variables = block_vars["example_globals"]
    drawn = variables.setdefault("__drawn__", set())
    paths = []
    for value in list(variables.values()):
        if isinstance(value, Figure) and id(value) not in drawn:
            drawn.add(id(value))
            path = Path(next(block_vars["image_path_iterator"]))
            value.savefig(path, dpi=120)
            paths.append(str(path))
    return figure_rst(paths, gallery_conf["src_dir"])
