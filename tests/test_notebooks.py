"""Notebooks are executed, and show what they should: bars, figures once, tables; in any locale."""

from __future__ import annotations

import os
import subprocess
import sys
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
            widget = "application/vnd.jupyter.widget-view+json"
            widgets = [output for output in cell.outputs if widget in output.get("data", {})]
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


RUN = """
import langevin
given = {
    "system": {"name": "harmonic", "n": 8},
    "dynamics": {"temperature": 0.5, "dt": 0.05, "t_max": 5.0},
    "record": {"waiting_times": [1.0]},
}
"""


@pytest.mark.slow
def test_figures_are_shown_once_whatever_pyplot_does(tmp_path: Path) -> None:
    cells = [
        RUN + "ds = langevin.run(given)\nf = langevin.plot(ds)",
        "langevin.plot(ds)",
        "import matplotlib.pyplot as plt\nlangevin.plot(ds)",
        "%matplotlib inline\nlangevin.plot(ds)",
        "import pickle, copy\npickle.loads(pickle.dumps(f)), copy.deepcopy(f)",
    ]
    notebook = executed(written(*cells), tmp_path)
    assert [images(cell) for cell in notebook.cells] == [0, 1, 1, 1, 0]
    assert notebook.cells[1].outputs[0].data["text/plain"].startswith("<Figure size")


@pytest.mark.slow
def test_kernels_in_other_places(tmp_path: Path) -> None:
    """In the locale C, and in a thread of the kernel."""
    threaded = """
import threading
found = []
thread = threading.Thread(target=lambda: found.append(langevin.run(given, progress=True)))
thread.start()
thread.join()
found[0].langevin.summary()
"""
    notebook = executed(written(RUN, threaded), tmp_path, LC_ALL="C", LANG="C", PYTHONUTF8="0")
    assert "100%|" in printed(notebook.cells[1]) or len(notebook.cells[1].outputs) > 1
    assert "energy at t = 5" in notebook.cells[1].outputs[-1].data["text/html"]


@pytest.mark.slow
def test_ipython_without_a_notebook_has_no_bar_and_completes(tmp_path: Path) -> None:
    script = RUN + (
        "from IPython.core.completer import provisionalcompleter\n"
        "from IPython.core.interactiveshell import InteractiveShell\n"
        "from langevin.machine.bars import in_notebook\n"
        "shell = InteractiveShell.instance()\n"
        "assert not in_notebook()\n"
        "shell.run_cell('import langevin')\n"
        "def completed(text):\n"
        "    with provisionalcompleter():\n"
        "        return {c.text for c in shell.Completer.completions(text, len(text))}\n"
        "assert {'run', 'open', 'plot', 'observables'} <= completed('langevin.')\n"
        "assert not {'sys', 'importlib', 'Finder'} & completed('langevin.')\n"
        "assert {'aging', 'response'} <= completed('langevin.observables.')\n"
        "shell.run_cell('import xarray as xr; ds = xr.Dataset()')\n"
        "assert {'plot', 'aging', 'summary', 'members'} <= completed('ds.langevin.')\n"
    )
    environment = {**os.environ, "IPYTHONDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_the_button_that_interrupts_leaves_a_checkpoint(tmp_path: Path) -> None:
    """A kernel that is interrupted says how its run goes on, in one line, and goes on."""
    from jupyter_client.manager import start_new_kernel

    manager, client = start_new_kernel(kernel_name="python3", cwd=str(tmp_path))
    shown: list[dict[str, Any]] = []

    def heard(message: dict[str, Any]) -> None:
        shown.append(message)
        # The bar moves: the run is under way.
        if "energy" in message["content"].get("text", "") and not heard.pressed:  # type: ignore[attr-defined]
            heard.pressed = True  # type: ignore[attr-defined]
            manager.interrupt_kernel()

    heard.pressed = False  # type: ignore[attr-defined]
    try:
        given = RUN + "given |= {'output': {'path': 'a.nc'}}\ngiven['dynamics']['t_max'] = 1e6\n"
        reply = client.execute_interactive(
            given + "langevin.run(given, progress=True)", output_hook=heard, timeout=300
        )["content"]
        assert heard.pressed and reply["status"] == "error"  # type: ignore[attr-defined]
        assert reply["evalue"].startswith("stopped by Ctrl-C at t = ")
        assert reply["evalue"].endswith("continue with `langevin.resume('a.nc')`")
        assert reply["traceback"] == [f"KeyboardInterrupt: {reply['evalue']}"]
        assert (tmp_path / "a.checkpoint.nc").exists()
        check = "import sys\nassert isinstance(sys.last_value, KeyboardInterrupt)\n"
        check += "try:\n    langevin.resume('a.nc', wall_time=1e-3)\nexcept KeyboardInterrupt:\n    pass"
        assert client.execute_interactive(check, timeout=300)["content"]["status"] == "ok"
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
