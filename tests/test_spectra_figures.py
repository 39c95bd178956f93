"""Figures of spectra: exact, by Lanczos, with a semicircle, of nets that train, unfinished."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner
from test_plotting import assert_inside_and_apart, texts

from langevin import plotting
from langevin.commands.cli import main
from langevin.errors import UserError

TIMES = [0.0, 1.0, 10.0, 100.0]


def spectra(
    exact: bool = True, circle: bool = False, trains: bool = False, replicas: int = 3, steps: float = 3.0
) -> xr.Dataset:
    """Eigenvalues over `steps` decades, a third of them negative at first and none at the end."""
    rng, rows, dims = np.random.default_rng(1), 30, ("replica", "hessian_time")
    shape = (replicas, len(TIMES), rows)
    values = 10 ** rng.uniform(-steps, 0, shape)
    values[:, :-1, : rows // 3] *= -1
    about = {"units": "1", "rows": rows}
    if circle:
        about |= {"semicircle_radius": 2.0, "semicircle_centre_over_energy": -3.0}
    made = xr.Dataset(
        {
            "energy": (("replica", "time"), -np.log1p(np.tile(TIMES, (replicas, 1))) / 4, {"units": "1"}),
            "hessian_trace": (dims, values.sum(-1), {"units": "1"}),
        },
        {
            "replica": np.arange(replicas),
            "time": TIMES,
            "hessian_time": ("hessian_time", TIMES, {"units": "steps"}),
        },
        {"title": "spectra"},
    )
    if exact:
        made["hessian_eigenvalue"] = ((*dims, "mode"), np.sort(values), about)
    else:
        by_probe = (replicas, len(TIMES), 5, rows // 5)
        made["ritz_value"] = ((*dims, "probe", "ritz"), np.sort(values.reshape(by_probe)), about)
        made["ritz_weight"] = made["ritz_value"].dims, np.full(by_probe, 5 / rows)
        made["hessian_trace_error"] = dims, np.full((replicas, len(TIMES)), 0.3)
    if trains:
        made["test_loss"] = made["energy"] + 0.1
    return made


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ({}, ("rank $k$", "number of negative eigenvalues", "at $t = 0$", "lowest", "time $t$ (steps)")),
        ({"trains": True}, ("rank $k$", "test loss − training loss", "trace per weight")),
        ({"circle": True}, (r"semicircle, $N\to\infty$", r"edges, $N\to\infty$", "density")),
        ({"exact": False}, ("density", "from Ritz weights", "extreme eigenvalue")),
        ({"exact": False, "trains": True}, ("density", "test loss − training loss")),
    ],
)
def test_each_kind_of_file_has_its_panels(kind: dict[str, bool], words: tuple[str, ...]) -> None:
    dataset = spectra(**kind)  # type: ignore[arg-type]
    made = plotting.figure(dataset, "hessian")
    shown = texts(made)
    for word in words:
        assert word in shown, word
    assert len(made.axes) == (3 if kind == {"exact": False} else 4)
    assert_inside_and_apart(made)


def test_curves_are_the_numbers_of_the_file() -> None:
    dataset = spectra()
    made = plotting.figure(dataset, "hessian")
    curves = [line.get_ydata() for line in made.axes[0].lines if len(line.get_ydata()) == 30]
    np.testing.assert_allclose(curves, dataset["hessian_eigenvalue"].mean("replica"), rtol=1e-12)
    counted = next(line for line in made.axes[2].lines if line.get_marker() == "o")
    assert counted.get_xdata().tolist() == TIMES[1:] and counted.get_ydata().tolist() == [10, 10, 0]
    assert made.axes[0].get_yscale() == "symlog" and made.axes[2].get_xscale() == "log"


def test_the_semicircle_stands_at_its_energy() -> None:
    made = plotting.figure(spectra(circle=True), "hessian")
    dotted = [line for line in made.axes[0].lines if line.get_linestyle() == ":"]
    centres = [np.mean(line.get_xdata()) for line in dotted]
    np.testing.assert_allclose(centres, 3 * np.log1p(TIMES) / 4, atol=1e-12)
    for line in dotted:
        # The grid's ends, where the slope is infinite, cost a thousandth.
        assert np.trapezoid(line.get_ydata(), line.get_xdata()) == pytest.approx(1, abs=2e-3)


def test_points_of_the_trace_are_replicas() -> None:
    dataset = spectra(trains=True)
    made = plotting.figure(dataset, "hessian")
    points = np.concatenate([c.get_offsets() for c in made.axes[3].collections])
    np.testing.assert_allclose(points[:, 0], 0.1)
    np.testing.assert_allclose(sorted(points[:, 1]), np.sort((dataset["hessian_trace"] / 30).values, None))


@pytest.mark.parametrize("exact", [True, False])
def test_unfinished_files_and_single_replicas(exact: bool) -> None:
    dataset = spectra(exact, trains=True)
    reached = dataset["hessian_time"] < 5
    names = [n for n in dataset.data_vars if "hessian_time" in dataset[n].dims]
    begun = dataset.assign({n: dataset[n].where(reached) for n in names})
    assert len(plotting.figure(begun, "hessian").legends[0].get_texts()) == 2
    nothing = plotting.figure(dataset.assign({n: dataset[n] * np.nan for n in names}), "hessian")
    assert len(nothing.axes) == 4 and not any(len(ax.lines) + len(ax.collections) for ax in nothing.axes)
    # Bands are errors over replicas; one has none.
    bands = [
        len(plotting.figure(d, "hessian").axes[2].collections) for d in (dataset, dataset.isel(replica=[0]))
    ]
    assert bands == [1, 0]
    once = plotting.figure(dataset.isel(hessian_time=[0]), "hessian")
    assert [text.get_text() for text in once.legends[0].get_texts()] == ["0"]


def test_the_command_draws_it_where_it_is_there(tmp_path: Path) -> None:
    spectra().to_netcdf(tmp_path / "a.nc")
    done = CliRunner().invoke(main, ["plot", str(tmp_path / "a.nc"), "--quantity", "hessian"])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "a-hessian.png").stat().st_size > 10_000
    # Without a quantity the energy, as before.
    assert len(plotting.figure(spectra()).axes) == 1
    with pytest.raises(UserError, match="allowed: energy, hessian"):
        plotting.figure(spectra(), "correlation")
    bare = (
        spectra()
        .drop_vars("hessian_eigenvalue")
        .assign(msd=(("replica", "waiting_time", "lag"), np.ones((3, 1, 1))))
    )
    with pytest.raises(UserError, match="'hessian': not in the file; allowed: msd"):
        plotting.figure(bare, "hessian")


def test_spectra_of_few_decades_stay_on_a_linear_axis() -> None:
    assert plotting.figure(spectra(steps=0.5), "hessian").axes[0].get_yscale() == "linear"
