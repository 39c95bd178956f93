"""Notebooks are executed, and show what they should: bars, figures once, tables; in threads and in any locale."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT

nbclient = pytest.importorskip("nbclient")
nbformat = pytest.importorskip("nbformat")
pytest.importorskip("ipykernel")

NOTEBOOKS = sorted((ROOT / "docs/notebooks").glob("*.ipynb"))


def executed(notebook: Any, folder: Path, **environment: str) -> Any:
    """Execute a notebook in a kernel of its own, as Jupyter does, and return it."""
    extra = {"OMP_NUM_THREADS": "1", "IPYTHONDIR": str(folder / "ipython"), **environment}
    before = dict(os.environ)
    os.environ.update(extra)
    try:
        resources = {"metadata": {"path": str(folder)}}
        client = nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3", resources=resources)
        client.execute()
    finally:
        os.environ.clear()
        os.environ.update(before)
    return notebook


def written(*cells: str) -> Any:
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])


def images(cell: Any) -> int:
    return sum("image/png" in output.get("data", {}) for output in cell.outputs)


def printed(cell: Any) -> str:
    return "".join(output.get("text", "") for output in cell.outputs if output.output_type == "stream")


def require_shown_well(notebook: Any) -> None:
    """Make sure that each figure is one image, each summary a table, and each bar no lines of a log."""
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        last = cell.source.splitlines()[-1]
        if ".plot(" in last:
            assert images(cell) == 1, cell.source
            assert len([o for o in cell.outputs if o.output_type == "execute_result"]) == 1
        if last.endswith("summary()"):
            assert "<pre" in cell.outputs[-1].data["text/html"], cell.source
        if "progress=True" in cell.source:
            said = printed(cell)
            widgets = [
                o for o in cell.outputs if "application/vnd.jupyter.widget-view+json" in o.get("data", {})
            ]
            assert "100%|" in said or widgets, cell.source
            assert "start, t =" not in said, "no lines besides"


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, id=path.stem, marks=() if path.stem == "my_own_system" else pytest.mark.slow)
        for path in NOTEBOOKS
    ],
)
def test_notebooks_are_executed(path: Path, tmp_path: Path) -> None:
    notebook = executed(nbformat.read(path, as_version=4), tmp_path)
    require_shown_well(notebook)
    assert not [o for c in notebook.cells for o in c.get("outputs", ()) if o.output_type == "error"]


def test_there_are_notebooks_and_they_hold_no_outputs() -> None:
    assert {path.stem for path in NOTEBOOKS} == {"explore_a_result", "my_own_system", "a_network_of_mine"}
    for path in NOTEBOOKS:
        notebook = nbformat.read(path, as_version=4)
        nbformat.validate(notebook)
        assert notebook.cells[0].source.startswith("# ")
        for cell in notebook.cells:
            assert not cell.get("outputs") and cell.get("execution_count") is None, path
