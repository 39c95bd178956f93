"""The site is configured here. It is built from the root of a checkout, where warnings are errors:

    sphinx-build -W --keep-going docs docs/_build

Links to pages and to headings are checked by that; links to elsewhere, which need a network, by

    sphinx-build -W --keep-going -b linkcheck docs docs/_build/links
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import langevin

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
import observables_reference  # noqa: E402

project = "langevin"
author = "The langevin developers"
copyright = "the langevin developers"
version = release = langevin.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "numpydoc",
    "sphinx_click",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "examples", "**/sg_execution_times.rst", "sg_execution_times.rst"]
# Code in docstrings stands between single backticks.
default_role = "literal"
# The lexer of consoles does not know every line that a program prints.
suppress_warnings = ["misc.highlighting_failure"]

# What GitHub renders, too: formulas between dollars and in fences, links to headings.
myst_enable_extensions = ["dollarmath"]
myst_fence_as_directive = ["math"]
myst_heading_anchors = 4
myst_dmath_double_inline = True

autodoc_typehints = "none"
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
numpydoc_validation_checks: set[str] = set()

sphinx_gallery_conf = {
    "examples_dirs": "examples",
    "gallery_dirs": "gallery",
    "filename_pattern": "/plot_",
    "ignore_pattern": r"^(?!plot_)",
    "within_subsection_order": "FileNameSortKey",
    "image_scrapers": ["figures_of_examples.scrape"],
    "backreferences_dir": None,
    "download_all_examples": False,
    "abort_on_example_error": True,
    "remove_config_comments": True,
    "show_memory": False,
    "min_reported_time": 3600,
    "write_computation_times": False,
    "show_signature": False,
}

html_theme = "pydata_sphinx_theme"
html_title = "langevin"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
# Pages without others beneath them have no list of these.
html_sidebars = {page: [] for page in ("start", "compare", "own_network", "file", "testing")}
html_theme_options = {
    "header_links_before_dropdown": 7,
    "navbar_align": "left",
    "navbar_persistent": ["search-button"],
    "navigation_with_keys": False,
    "show_prev_next": True,
    "show_toc_level": 2,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": ["theme-version"],
    "logo": {"text": "langevin"},
}

linkcheck_timeout = 20
linkcheck_retries = 2

#: A link to a document at the root of the repository that a page of the reference includes.
AT_THE_ROOT = re.compile(r"\]\((?:\.\./)+(ARCHITECTURE|CONTRIBUTING|CHANGELOG)\.md")


def adapt_links(app: Any, document: str, source: list[str]) -> None:
    """Let links to documents at the root lead to the site's pages, and show titles for names of files."""
    folder = "" if document.startswith("reference/") else "reference/"
    source[0] = AT_THE_ROOT.sub(lambda link: f"]({folder}{link[1].lower()}.md", source[0])
    source[0] = re.sub(r"\[[\w/]+\.md\]\(", "[](", source[0])


#: What reStructuredText takes for markup, and docstrings mean as they say: |x| and t_.
MARKUP = re.compile(r"(?<!\\)\||(?<=\w)_(?=\W|$)")


def keep_signs(app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Let bars and final underscores in docstrings be signs, except in code and literal blocks."""
    literal = None
    for number, line in enumerate(lines):
        indent = len(line) - len(line.lstrip())
        if literal is not None and line.strip() and indent <= literal:
            literal = None
        if literal is None and not line.lstrip().startswith((">>>", ".. ", "| ", "+-", "+=")):
            parts = re.split(r"(`+[^`]+`+_*)", line)
            parts[::2] = [MARKUP.sub(lambda sign: "\\" + sign[0], part) for part in parts[::2]]
            lines[number] = "".join(parts)
        if literal is None and line.rstrip().endswith("::"):
            literal = indent


def setup(app: Any) -> dict[str, bool]:
    """Write the pages that follow from the code, and register what is done to text before it is parsed."""
    observables_reference.write(HERE / "reference/observables")
    app.connect("source-read", adapt_links)
    # After numpydoc, whose own markup is left alone.
    app.connect("autodoc-process-docstring", keep_signs, priority=900)
    return {"parallel_read_safe": True}
