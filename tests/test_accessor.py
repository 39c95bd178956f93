"""`ds.langevin` does what the functions do, on any data set of xarray, whoever opened it."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure
from test_lazy import run as everything

import langevin
from langevin import observables, plotting
from langevin.errors import UserError
from langevin.machine import bars
from langevin.notebook import accessor
from langevin.observables import displacement_response, response, statistics
from langevin.observables.aging import aging_exponent
from langevin.plotting.response import units
from langevin.results import summary

RUN = {
    "title": "springs <&>",
    "system": {"name": "harmonic", "n": 5},
    "dynamics": {"temperature": 0.5, "dt": 0.05, "t_max": 4.0},
    "ensemble": {"replicas": 3},
    "record": {"waiting_times": [0.5, 1.0]},
}


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("results") / "springs.nc"
    langevin.run({**RUN, "output": {"path": path}}).close()
    return path


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("results") / "sweep.nc"
    # Members have other times, and other numbers of replicas.
    given = {
        **RUN,
        "sweep": {"dynamics.temperature": [0.5, 1.0], "dynamics.t_max": [4.0, 2.0]},
        "output": {"path": path},
    }
    langevin.run(given, executor="in_process").close()
    return path


@pytest.mark.parametrize(
    "first",
    ["langevin, xarray as xr", pytest.param("xarray as xr, langevin", marks=pytest.mark.slow)],
)
def test_data_sets_have_it_whichever_is_imported_first(first: str) -> None:
    words = (
        f"import {first}, sys\n"
        "assert xr.Dataset().langevin is not None\n"
        "from langevin.notebook.attached import AtImport\n"
        "assert not [f for f in sys.meta_path if isinstance(f, AtImport)]\n"
        "assert 'matplotlib' not in sys.modules and 'torch' not in sys.modules\n"
    )
    # A warning, such as that of an accessor that is registered twice, is an error.
    subprocess.run([sys.executable, "-W", "error::UserWarning", "-c", words], check=True)


def test_importing_langevin_imports_nothing_heavy() -> None:
    words = "import sys, langevin; assert not {'xarray', 'numpy', 'pandas', 'click'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", words], check=True)


def test_what_is_there_is_listed() -> None:
    wanted = {
        "run",
        "open",
        "resume",
        "members",
        "plot",
        "compare",
        "connect",
        "plane",
        "ensemble",
        "summary",
    }
    wanted |= {"observables", "Model", "System", "Section", "key", "Probe"}
    assert wanted <= set(dir(langevin)) and wanted <= set(langevin.__all__)
    assert not {"sys", "os", "importlib", "Any", "Finder"} & set(dir(langevin))
    for name in langevin.__all__:
        assert getattr(langevin, name) is not None, name
    rooms = {"aging", "training", "landscape", "particles", "fits", "statistics", "response"}
    assert (
        rooms
        <= set(dir(observables))
        == {*observables.__all__, *rooms} | {name for name in dir(observables) if name.startswith("__")}
    )
    assert langevin.observables.aging.aging_exponent is aging_exponent
    with pytest.raises(AttributeError, match="no attribute 'agign'"):
        _ = langevin.observables.agign


def test_a_moved_file_and_any_way_to_open_it(result: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere.nc"
    moved.write_bytes(result.read_bytes())
    with (
        langevin.open(result) as one,
        xr.open_dataset(moved) as other,
        langevin.open(moved, chunks={}) as lazy,
    ):
        said = str(one.langevin.summary())
        assert said == str(other.langevin.summary()) == str(lazy.langevin.summary())
        assert said == summary.contents(one) == str(langevin.summary(result))
        assert one.langevin.average().equals(lazy.langevin.average().compute())
        assert lazy.langevin.average("msd")["msd"].chunks is not None


def test_averages_are_those_of_statistics(result: Path) -> None:
    with langevin.open(result) as ds:
        found = ds.langevin.average()
        assert set(found) == {n + e for n in ("energy", "msd", "correlation") for e in ("", "_error")}
        for name in ("energy", "msd"):
            expected = statistics.average(ds[name])
            assert found[name].identical(expected.mean)
            assert found[f"{name}_error"].equals(expected.error)
            assert found[f"{name}_error"].attrs["samples"] == 3
        assert set(ds.langevin.average("energy")) == {"energy", "energy_error"}
        with pytest.raises(UserError, match="average: 'mass' not in the data set; allowed: energy, msd"):
            ds.langevin.average("mass")
        with pytest.raises(UserError, match="average: 'energy' has no replicas; allowed: none"):
            ds.mean("replica").langevin.average("energy")


def test_figures_are_those_of_plot(result: Path, tmp_path: Path) -> None:
    with langevin.open(result) as ds:
        drawn = ds.langevin.plot("energy", output=tmp_path / "a.png")
        assert isinstance(drawn, Figure) and (tmp_path / "a.png").exists()
        assert ds.langevin.quantities() == plotting.quantities(ds)
        with pytest.raises(UserError, match="quantity='mass': not in the file; allowed: msd"):
            ds.langevin.plot("mass")
        with pytest.raises(UserError, match="overwrite it with force=True"):
            ds.langevin.plot(output=tmp_path / "a.png")


def test_a_figure_gives_a_notebook_its_image(result: Path) -> None:
    drawn = langevin.plot(result, quantity="energy")
    image, about = drawn._repr_png_()  # type: ignore[attr-defined]
    assert image.startswith(b"\x89PNG")
    assert about["width"] == round(100 * drawn.get_figwidth())
    assert repr(drawn).startswith("<Figure size")
    again = pickle.loads(pickle.dumps(drawn))
    assert again._repr_png_()[0].startswith(b"\x89PNG")


def test_every_member_of_a_sweep_is_looked_at_by_itself(swept: Path) -> None:
    with langevin.open(swept) as ds:
        assert "sweep over temperature, t_max" in repr(ds.langevin)
        average = ds.langevin.average("energy")
        assert average["energy"].dims[:2] == ("temperature", "t_max")
        for labels, member in ds.langevin.members():
            own = member.langevin.average("energy")["energy"]
            there = average["energy"].sel(labels)
            np.testing.assert_array_equal(there.sel(time=own["time"]), own)
            assert int(there.count()) == own.size, "NaN where the member has no time"
        only = ds.langevin.summary(at=["temperature=0.5"])
        assert "a sweep over t_max" in only._repr_html_()


def test_aging_is_that_of_the_observable() -> None:
    ds = everything()
    keywords: dict[str, Any] = {"resamples": 20}
    found = ds.langevin.aging(**keywords)
    assert found.identical(aging_exponent(ds["msd"], **keywords))
    falling = ds.langevin.aging("correlation", threshold=0.9, **keywords)
    assert falling.identical(aging_exponent(ds["correlation"], threshold=0.9, falling=True, **keywords))
    # A solution has a numerical error in place of samples.
    one = ds.isel(replica=slice(0, 1))
    solution = one.assign(msd_error=0.01 * one["msd"].isel(replica=0, drop=True))
    expected = aging_exponent(solution["msd"], accuracy=solution["msd_error"])
    assert solution.langevin.aging().identical(expected)
    with pytest.raises(UserError, match=r"no overlap in the result \(two-time observables: msd"):
        ds.langevin.aging("overlap")


def test_the_ratio_is_that_of_the_response() -> None:
    ds = everything()
    chi = ds["integrated_response"].assign_attrs(temperature=0.5)
    ds = ds.assign(integrated_response=chi)
    unit = units(ds)
    expected = response.fdt_ratio(
        ds["correlation"],
        chi,
        0.5,
        width=accessor.WINDOW,
        equal_time=1.0 if unit is None else unit["at_end"],
    )
    assert ds.langevin.fdt().identical(expected)
    wide = response.fdt_ratio(ds["correlation"], chi, 0.7, width=0.3)
    assert ds.langevin.fdt(temperature=0.7, width=0.3, equal_time=1.0).identical(wide)
    displaced = ds.assign(integrated_response=chi.assign_attrs(conjugate="msd"))
    temperature = displacement_response.effective_temperature(
        displaced["msd"], displaced["integrated_response"]
    )
    assert displaced.langevin.fdt().identical(temperature)


def test_a_part_of_a_result_will_do(result: Path) -> None:
    with langevin.open(result) as ds:
        for part in (ds[["energy"]], ds[["msd"]], ds.isel(replica=slice(0, 2)), ds.sel(time=slice(1, None))):
            part.langevin.plot()
            part.langevin.summary()
        lone = ds[["energy"]].rename(energy="gradient_norm")
        assert set(lone.langevin.average()) == {"gradient_norm", "gradient_norm_error"}
        lone.langevin.plot("gradient_norm")
        with pytest.raises(UserError, match=r"no figure .* quantity=: gradient_norm"):
            lone.langevin.plot()


def test_what_is_no_result_says_so(result: Path) -> None:
    none = xr.Dataset({"temperature": ("x", [1.0])})
    assert repr(none.langevin) == "<langevin: the data set is no result>"
    for ask in (none.langevin.plot, none.langevin.summary, none.langevin.aging, none.langevin.members):
        with pytest.raises(UserError, match="not a result of langevin: it holds temperature; a run has"):
            ask()
    with pytest.raises(UserError, match="not a result of langevin"):
        langevin.summary(none)
    with langevin.open(result) as ds, pytest.raises(UserError, match=r"record\.response = true"):
        ds.langevin.fdt()


class Balanced(HTMLParser):
    """Checks that what is opened is closed, and keeps the text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_table_of_a_notebook_says_what_the_lines_say(result: Path) -> None:
    found = langevin.summary(result)
    parser = Balanced()
    parser.feed(found._repr_html_())
    assert not parser.open
    assert "springs <&>" in parser.text, "escaped"
    assert found.results in parser.text
    for name, meaning, unit in found.variables:
        assert name in parser.text and meaning in parser.text and unit in parser.text
    for text in found.origin.values():
        assert text in parser.text
    assert repr(found) == str(found) == found.text
    assert json.loads(json.dumps(found.sizes))["replica"] == 3


class Kernel:
    """What IPython says of itself in a notebook."""

    config: dict[str, Any] = {"IPKernelApp": {}}  # noqa: RUF012


def test_bars_are_drawn_where_they_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    # Under pytest stderr is no terminal.
    with bars.bar("a run", True, total=1) as bar:
        assert bar.disable
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: None))
    assert not bars.in_notebook()
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: Kernel))
    assert bars.in_notebook()
    with bars.bar("a run", True, total=1) as bar:
        assert not bar.disable
    with bars.bar("a run", False, total=1) as bar:
        assert bar.disable
