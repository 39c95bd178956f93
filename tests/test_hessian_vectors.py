"""Eigenvectors of the largest eigenvalues: of a matrix, in runs, on the sphere; what lies in their span."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from test_network_hessian import network_run, small_data
from test_restart import assert_same, interrupted

import langevin
from langevin.config import build, run_files
from langevin.errors import ConfigError, UserError
from langevin.observables.landscape import spectra
from langevin.observables.landscape.eigenvectors import part_in_span, top
from langevin.sweep import simulation


class Matrix:
    """A matrix that counts its products."""

    def __init__(self, matrix: np.ndarray) -> None:
        self.matrix, self.size, self.products = matrix, len(matrix), 0

    def matvec(self, vectors: np.ndarray) -> np.ndarray:
        self.products += 1
        return np.asarray(self.matrix @ vectors)

    def dense(self) -> np.ndarray:
        return self.matrix


def bulk_with_outliers(size: int = 200) -> np.ndarray:
    """Three outliers above a semicircle that ends at 2."""
    rng = np.random.default_rng(1)
    noise = rng.standard_normal((size, size)) / np.sqrt(2 * size)
    basis = np.linalg.qr(rng.standard_normal((size, 3)))[0]
    return np.asarray(noise + noise.T + basis @ np.diag([9.0, 6.0, 4.0]) @ basis.T)


@pytest.mark.parametrize("count", [1, 3, 12])
def test_lanczos_finds_the_vectors_of_the_matrix(count: int) -> None:
    """Inside of the bulk, too. The residual is |H v − λ v|; vectors are off by it over the gap."""
    matrix, rng = bulk_with_outliers(), np.random.default_rng(2)
    values, vectors = np.linalg.eigh(matrix)
    values, vectors = values[::-1][:count], vectors[:, ::-1][:, :count]
    operator = Matrix(matrix)
    found, exact = top(operator, count, rng, exact=0, steps=20), top(operator, count, rng)
    gap = np.abs(np.diff(np.linalg.eigvalsh(matrix)[::-1][: count + 1])).min()
    for one in (found, exact):
        np.testing.assert_allclose(one.values, values, rtol=0, atol=1e-8)
        off = np.linalg.norm(matrix @ one.vectors - one.vectors * one.values, axis=0)
        np.testing.assert_allclose(one.residuals, off, rtol=0, atol=1e-12)
        assert (one.residuals <= 1e-9 * 9.1).all()
        np.testing.assert_allclose(one.vectors.T @ one.vectors, np.eye(count), rtol=0, atol=1e-12)
        along = np.abs(np.sum(one.vectors * vectors, axis=0))
        np.testing.assert_allclose(along, 1, rtol=0, atol=(2e-8 / gap) ** 2 + 1e-12)
        largest = np.abs(one.vectors).argmax(0)
        assert (one.vectors[largest, np.arange(count)] > 0).all()


def test_a_space_that_ends_early_goes_on_elsewhere() -> None:
    found = top(Matrix(np.diag([3.0, 2.0, 0, 0, 0, 0])), 4, np.random.default_rng(0), exact=0, steps=3)
    np.testing.assert_allclose(found.values, [3, 2, 0, 0], atol=1e-12)
    np.testing.assert_allclose(found.vectors.T @ found.vectors, np.eye(4), atol=1e-12)


@pytest.mark.parametrize("count", [0, 7])
def test_there_are_no_more_vectors_than_rows(count: int) -> None:
    with pytest.raises(ValueError, match="from 1 to 6"):
        top(Matrix(np.eye(6)), count, np.random.default_rng(0))


def test_the_part_in_a_span() -> None:
    vectors = np.eye(4)[:, :3]
    np.testing.assert_allclose(part_in_span(vectors, np.array([1.0, 2, 0, 2])), [1 / 9, 5 / 9, 5 / 9])
    assert np.isnan(part_in_span(vectors, np.zeros(4))).all()


@pytest.mark.parametrize("keys", [{}, {"hessian_exact": 0, "hessian_steps": 6}], ids=["exact", "lanczos"])
def test_a_run_stores_them_and_resumes_to_the_same_bits(
    keys: dict[str, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = network_run(hessian=[0, 7, 60], hessian_vectors=3, configurations="always", **keys)
    given = {**asked, "output": {"path": str(tmp_path / "whole.nc")}}
    simulation.execute(run_files.load(given))
    given["output"] = {"path": str(tmp_path / "stopped.nc")}
    paths = interrupted(given, monkeypatch, 0, after=10)
    simulation.resume(paths.result).close()
    assert_same(tmp_path / "whole.nc", paths.result)
    with xr.open_dataset(paths.result) as found:
        vectors, values = found["hessian_vector"], found["hessian_vector_value"]
        assert vectors.dims == ("replica", "hessian_time", "eigenvector", "dof")
        assert vectors.attrs["units"] == "1" and vectors.attrs["examples"] == 40
        products = vectors.to_numpy() @ np.swapaxes(vectors.to_numpy(), -1, -2)
        np.testing.assert_allclose(products, np.broadcast_to(np.eye(3), (3, 3, 3, 3)), atol=1e-12)
        if not keys:
            highest = found["hessian_eigenvalue"].isel(mode=slice(None, -4, -1))
            np.testing.assert_allclose(values, highest, rtol=1e-12, atol=1e-14)
        assert (found["hessian_vector_residual"] <= 1e-8 * np.abs(values).max()).all()
        part = found["gradient_overlap"]
        assert (part.diff("eigenvector") >= 0).all() and (part > 0).all() and (part <= 1 + 1e-12).all()


def test_the_gradient_is_that_of_the_same_loss() -> None:
    """On all examples, at the end, against `test_network_hessian`'s own gradient and matrix."""
    from test_network_hessian import NETS, Moved, trained

    net, state = trained(NETS["tanh"])
    operator, at = net.hessian(state, 1), Moved(net, state, 1)
    expected = at.gradient(np.zeros(net.dof))
    np.testing.assert_allclose(operator.gradient(), expected, rtol=0, atol=1e-15)
    assert np.linalg.norm(expected) > 1e-2


def pspin(**record: Any) -> xr.Dataset:
    return langevin.run(
        {
            "system": {"name": "pspin", "p": 3, "n": 24},
            "dynamics": {"temperature": 0.0, "dt": 0.1, "t_max": 3.0},
            "ensemble": {"replicas": 2, "samples": 2},
            "record": {"hessian": [0.0, 3.0], "times": [0.0, 3.0], "waiting_times": [], "lags": [], **record},
        }
    )


def test_on_the_sphere_they_are_tangent() -> None:
    found = pspin(hessian_vectors=2, configurations="always")
    vectors = found["hessian_vector"]
    x = found["configuration"].sel(configuration_time=found["hessian_time"])
    # As exact as the configuration's norm, which is rounded at every step.
    np.testing.assert_allclose((vectors * x).sum("dof"), 0, atol=1e-11)
    np.testing.assert_allclose((vectors**2).sum("dof"), 1, rtol=1e-12)
    highest = found["hessian_eigenvalue"].isel(mode=slice(None, -3, -1))
    np.testing.assert_allclose(found["hessian_vector_value"], highest, rtol=1e-12)
    # At the start the gradient knows nothing of the stiffest direction.
    assert (found["gradient_overlap"] <= 1).all()


def test_the_gradient_on_the_sphere() -> None:
    """∂H is homogeneous of degree p − 1: ∂²H σ = (p − 1) ∂H. Forces are in single precision."""
    from langevin.core.ensemble import Ensemble
    from langevin.systems.pspin.second_derivative import second_derivative

    made = run_files.load(
        {
            "system": {"name": "pspin", "p": 3, "n": 12},
            "dynamics": {"temperature": 0.0, "dt": 0.1, "t_max": 1.0},
            "ensemble": {"replicas": 1, "samples": 1},
        }
    )
    model = build.build(made, Ensemble.regular(1, 1, 1, 1)).model
    x = np.random.default_rng(3).standard_normal(12)
    x *= np.sqrt(12) / np.linalg.norm(x)
    operator = model.hessian(x[None], 0)
    slope = second_derivative(operator.couplings, x) @ x / 2
    tangent = operator.displacements(np.eye(11))
    np.testing.assert_allclose(
        operator.gradient(), tangent.T @ slope, rtol=0, atol=1e-6 * np.abs(slope).max()
    )
    np.testing.assert_allclose(tangent.T @ x, 0, atol=1e-13)


def test_the_overlap_of_spaces() -> None:
    """tr P P'/k: 1 of equal spaces, whatever basis they have; 0 of orthogonal ones; k/M of random ones."""
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.standard_normal((10, 10)))[0]
    turned = basis[:, :2] @ np.array([[0.6, 0.8], [-0.8, 0.6]])
    rows = np.stack([basis[:, :2].T, turned.T, basis[:, 2:4].T])
    dataset = xr.Dataset(
        {"hessian_vector": (("replica", "hessian_time", "eigenvector", "dof"), rows[None])},
        {"hessian_time": [1.0, 2.0, 3.0]},
    )
    found = spectra.subspace_overlap(dataset)
    expected = np.array([[1, 1, 0], [1, 1, 0], [0, 0, 1]])
    np.testing.assert_allclose(found.isel(replica=0), expected, atol=1e-12)
    assert found.attrs["random"] == 0.2
    first = spectra.subspace_overlap(dataset, 1).isel(replica=0)
    assert float(first[0, 1]) == pytest.approx(0.36)


@pytest.mark.parametrize("keys", [{"hessian_vectors": 2}, {"ggn": True}])
def test_without_times_there_is_nothing_to_find(keys: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"record.{next(iter(keys))} = .*without times, record.hessian"):
        run_files.load(network_run(**keys))


def test_too_many_are_refused_before_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        UserError, match=r"record.hessian_vectors = 24: allowed: up to 23, the Hessian's rows"
    ):
        pspin(hessian_vectors=24)
    monkeypatch.setattr("psutil.virtual_memory", lambda: type("Memory", (), {"available": 10_000})())
    with pytest.raises(
        UserError, match=r"record.hessian_vectors = 5: of \d+ numbers at 1 times .* take less"
    ):
        langevin.run({**network_run(hessian=[0], hessian_vectors=5), "data": small_data(2)})
