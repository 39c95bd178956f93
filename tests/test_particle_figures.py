"""Figures of files with particles: what their attributes say decides what is drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from cages import caged
from click.testing import CliRunner
from test_plotting import assert_inside_and_apart, texts

import langevin
from langevin import plotting
from langevin.commands.cli import main
from langevin.errors import UserError
from langevin.observables import response
from langevin.observables.aging import aging_exponent, relaxation_times
from langevin.plotting.style import unit_label


@pytest.fixture(scope="module")
def found() -> xr.Dataset:
    given: dict[str, Any] = caged(response=True, lags={"start": 0.005, "per_decade": 6})
    given["record"]["waiting_times"] = [0.005, 0.02, 0.05, 0.1, 0.2]
    return langevin.run(given)


def test_three_panels_and_with_a_response_a_fourth(found: xr.Dataset) -> None:
    made = plotting.figure(found.drop_vars("integrated_response"))
    labels = [ax.get_ylabel() for ax in made.axes]
    assert len(labels) == 3
    assert labels[0].startswith("energy per particle") and r"$\epsilon_{AA}$" in labels[0]
    assert "F_s(k;" in labels[1] and "k$ = 7.25" in texts(made)
    assert r"$\sigma_{AA}^{2}$" in labels[2] and made.axes[2].get_yscale() == "log"
    assert_inside_and_apart(made)
    made = plotting.figure(found)
    assert len(made.axes) == 4
    assert_inside_and_apart(made)


@pytest.mark.parametrize("mobility", [0.0, 0.02])
def test_the_theorem_is_drawn_against_displacements(found: xr.Dataset, mobility: float) -> None:
    part = found.copy()
    # In equilibrium by construction: χ = Δ/(6T) + t/N.
    chi = part["msd"] / (6 * 1.0) + mobility * part["lag"]
    about = {**found["integrated_response"].attrs, "centre_of_mass_mobility": mobility}
    part["integrated_response"] = chi.assign_attrs(about)
    ax = plotting.figure(part).axes[3]
    assert ("less the centre of mass" in ax.get_ylabel()) == (mobility > 0)
    *curves, line = ax.lines
    assert "Delta/6T" in str(line.get_label())
    for drawn in curves:
        x, y = (np.asarray(v) for v in drawn.get_data())
        # To rounding of a difference.
        np.testing.assert_allclose(y, x / 1.0, rtol=1e-9)
    x, y = (np.asarray(v) for v in line.get_data())
    np.testing.assert_allclose(y, x / 1.0, rtol=1e-12)
    # Negative control: without the mobility of the centre of mass the curves leave the line.
    part["integrated_response"].attrs["centre_of_mass_mobility"] = mobility + 0.01
    moved = plotting.figure(part).axes[3].lines[0].get_data()
    assert not np.allclose(np.asarray(moved[1]), np.asarray(moved[0]), rtol=1e-3)


def test_no_wrong_line_is_drawn(found: xr.Dataset) -> None:
    for drop in ("conjugate", "spatial_dimensions"):
        part = found.copy()
        part["integrated_response"] = part["integrated_response"].copy()
        del part["integrated_response"].attrs[drop]
        assert len(plotting.figure(part).axes) == 3, drop
    assert len(plotting.figure(found.drop_vars("msd")).axes) == 2


@pytest.mark.parametrize("name", ["fdt_ratio", "aging_line"])
def test_functions_that_take_the_theorem_of_correlations_refuse(found: xr.Dataset, name: str) -> None:
    c, chi = found["correlation"], found["integrated_response"]
    further = {"between": (0.2, 0.5)} if name == "aging_line" else {}
    for first, second in ((c, chi), (c, chi.drop_attrs()), (c.drop_attrs(), chi)):
        with pytest.raises(ValueError, match=r"χ = \(1 − C\)/T does not hold"):
            getattr(response, name)(first, second, 1.0, **further)
    getattr(response, name)(c.drop_attrs(), chi.drop_attrs(), 1.0, equal_time=1.0, **further)


@pytest.mark.parametrize(
    ("quantity", "panels", "words"),
    [
        ("pair_correlation", 3, ["g_{AB}(r)", r"distance $r$ ($\sigma_{AA}$)", "(c) BB"]),
        ("self_scattering", 3, ["F_s(k;", "(a) all, $t_w$ = 0.2"]),
        ("correlation", 2, ["F_s(k;"]),
        ("msd_B", 2, ["of B", r"$\Delta(t_w, t_w+t)$"]),
        ("self_overlap", 2, ["$a$ = 0.3"]),
        ("aging", 4, [r"\sigma_{AA}^{2}"]),
    ],
)
def test_every_quantity_is_drawn(found: xr.Dataset, quantity: str, panels: int, words: list[str]) -> None:
    assert quantity in plotting.quantities(found)
    made = plotting.figure(found, quantity)
    assert len(made.axes) == panels
    said = texts(made) + "\n".join(ax.get_title(loc="left") for ax in made.axes)
    for word in words:
        assert word in said, word
    assert_inside_and_apart(made)


def test_unfinished_runs_and_single_species(found: xr.Dataset) -> None:
    early = found.copy()
    for name in ("pair_correlation", "self_scattering"):
        early[name] = found[name].where(found["waiting_time"] < 0.04)
        assert len(plotting.figure(early, name).axes) == 3
        early[name] = found[name] * np.nan
        with pytest.raises(UserError, match=f"quantity='{name}': the run has reached no"):
            plotting.figure(early, name)
    plotting.figure(found.isel(replica=[0]))
    one = found.isel(pair=[0], species=[0])
    for name in ("pair_correlation", "self_scattering"):
        assert len(plotting.figure(one, name).axes) == 1


def test_labels_keep_species_and_symbol_apart(found: xr.Dataset) -> None:
    """A defect was "non-Gaussian parameter of / A α₂"; "of A F_s(…)" ran together."""
    label = plotting.figure(found, "non_gaussian_B").axes[1].get_ylabel()
    assert label == "non-Gaussian parameter\nof B, $\\alpha_2(t_w, t_w+t)$"
    label = plotting.figure(found, "correlation_B").axes[1].get_ylabel()
    assert label == "self-intermediate\nscattering function of B,\n$F_s(k; t_w, t_w+t)$"


def test_few_samples_are_said(found: xr.Dataset) -> None:
    """Two replicas: of no band is more claimed; of ten nothing is said. Few samples with a pair: no band."""
    assert "bands: too few samples: 2 of at least 4" in texts(plotting.figure(found.isel(replica=[0, 1])))
    many = xr.concat([found.isel(replica=[0, 1])] * 5, "replica").assign_coords(replica=range(10))
    if "sample" in many.coords:
        many = many.assign_coords(sample=("replica", np.arange(10)))
    assert "too few" not in texts(plotting.figure(many))
    made = plotting.figure(found.isel(replica=[0, 1]), "pair_correlation")
    assert "too few samples: 2 of at least 8" in made.legends[0].get_title().get_text()
    some = many.copy()
    some["pair_correlation"] = 1.0 + 0.1 * many["replica"] + 0 * many["pair_correlation"]

    def bands() -> int:
        drawn = plotting.figure(some, "pair_correlation").axes[0].collections
        return sum(path.vertices.shape[0] > 0 for c in drawn for path in c.get_paths())

    assert bands() > 0
    some["pair_correlation"] = some["pair_correlation"].where(some["replica"] > 5, 0.0)
    assert bands() == 0


@pytest.mark.parametrize(
    ("unit", "printed"),
    [
        ("sigma_AA^2", r"$\sigma_{AA}^{2}$"),
        ("sigma_AA^2/epsilon_AA", r"$\sigma_{AA}^{2}$/$\epsilon_{AA}$"),
        ("1/sigma_AA", r"1/$\sigma_{AA}$"),
        ("steps", "steps"),
        ("s", "s"),
    ],
)
def test_units(unit: str, printed: str) -> None:
    assert unit_label(unit) == printed


def test_compared_with_spins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: Any) -> None:
    monkeypatch.chdir(tmp_path)
    langevin.run({**caged(), "output": {"path": "cages.nc", "figure": False}}).close()
    spins = small("pspin", system__n=8, output__path="spins.nc", dynamics__dt=0.005, dynamics__t_max=0.5)
    spins["record"] |= {"waiting_times": [0.1], "lags": [0.005, 0.05]}
    langevin.run(spins).close()
    for quantity in ("msd", "correlation"):
        said = CliRunner().invoke(
            main, ["compare", "cages.nc", "spins.nc", "--force", "--quantity", quantity]
        )
        assert said.exit_code == 0, said.output
        # Of energies in other units no difference is tested: each is laid over the other by its own scale.
        assert "each by its own scale, and no difference is tested" in said.output
        assert "/σ" not in said.output


def test_one_function_gives_the_aging_of_either_kind() -> None:
    # A made-up glass: displacements grow as (t/t_w^0.8)^0.5, and F_s = exp(−k²Δ/6).
    waiting, lag = np.geomspace(1, 1e4, 9), np.geomspace(1e-2, 1e7, 91)
    msd = xr.DataArray(
        0.05 * (lag / waiting[:, None] ** 0.8) ** 0.5,
        {"waiting_time": waiting, "lag": lag},
        ("waiting_time", "lag"),
    )
    scattering = np.exp(-(7.25**2) * msd / 6)
    level = float(np.exp(-(7.25**2) * 0.1 / 6))
    rising = relaxation_times(msd, 0.1)["relaxation_time"]
    falling = relaxation_times(scattering, level, falling=True)["relaxation_time"]
    np.testing.assert_allclose(rising, 4 * waiting**0.8, rtol=1e-9)
    # C is interpolated straight in ln t over a tenth of a decade: 1 %.
    np.testing.assert_allclose(falling, rising, rtol=0.01)
    for values, threshold, falls in ((msd, 0.1, False), (scattering, level, True)):
        assert float(aging_exponent(values, threshold, falling=falls)["exponent"]) == pytest.approx(
            0.8, abs=1e-3
        )
