"""The p-spin model by torch: the compiled kernels at small N, Cugliandolo-Kurchan on a GPU."""

from __future__ import annotations

import numpy as np
import pytest
from test_pspin_limit import CK, TIMES, limit, measured

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(("n", "samples"), [(48, 96), (64, 64)])
def test_energies_and_correlations_are_those_of_the_kernels(n: int, samples: int) -> None:
    """With other noise, in the same samples: six z-tests at 4 σ for each N, one false alarm in 2600 seeds."""
    kernels, other = (measured(0.5, n, 0.02, samples, backend=b) for b in ("numba", "torch"))
    for name, (mean, error) in kernels.items():
        z = (other[name][0] - mean) / np.hypot(error, other[name][1])
        print(name, mean, other[name][0], z)
        assert (np.abs(z) < 4).all(), (name, z)
        # What is compared is not the same run; and the errors would show 3 % of the energy.
        assert (other[name][0] != mean).all() and (error < 0.02).all()


#: (N, dt, samples), 16 replicas each. At two of the smaller N dt varies.
LARGE = [
    (64, 0.02, 1024), (96, 0.02, 512), (128, 0.02, 256), (256, 0.02, 64), (512, 0.02, 32), (1024, 0.02, 16),
    (64, 0.01, 1024), (64, 0.04, 1024), (96, 0.01, 512), (96, 0.04, 512),
]  # fmt: skip


@pytest.mark.gpu
def test_large_systems_on_a_gpu_tend_to_the_cugliandolo_kurchan_solution() -> None:
    """Five z-tests at 4 σ and five χ² tests at p = 10⁻⁵; N = 1024 alone is near the limit, too."""
    runs = [measured(0.5, *size, device="cuda") for size in LARGE]
    for name, table in CK[0.5].items():
        for t, expected in table.items():
            k = TIMES.index(t)
            values, errors = (np.array([run[name][row, k] for run in runs]) for row in (0, 1))
            found, error, chi2 = limit(values, errors, LARGE)
            print(f"{name}(t = {t:g}): {found:.5f} ± {error:.5f}, CK {expected:.6f}, χ²/5 = {chi2:.2f}")
            print(f"    N = 1024, dt = 0.02: {values[5]:.5f} ± {errors[5]:.5f}")
            assert abs(found - expected) < 4 * error and chi2 < 6.2 and error < 0.005
            # A correction of 8/N of the energy, and what dt = 0.02 shifts it by: 1 % each.
            assert abs(values[5] - expected) < 4 * errors[5] + 0.02
