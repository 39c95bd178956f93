"""
A glass that ages
=================

You quench the spherical 3-spin model from a random configuration to T = 0.5, below its dynamic transition at
T_d = 0.612, and see it age: the longer it has waited, the slower it moves.

Settings are those of a run file, as a dictionary. Without an output path no file is left behind.
"""

import langevin

quench = langevin.run(
    {
        "title": "3-spin quench to T = 0.5",
        "system": {"name": "pspin", "p": 3, "n": 64},
        "dynamics": {"temperature": 0.5, "dt": 0.02, "t_max": 60.0},
        "ensemble": {"replicas": 16, "samples": 8, "seed": 1},
        "record": {
            "waiting_times": [1.0, 4.0, 16.0],
            "lags": {"start": 0.1, "per_decade": 10},
        },
    }
)
quench

# %%
# What comes out is an xarray Dataset, with the dimensions of every result: ``replica``, ``time``,
# ``waiting_time``, ``lag``. :func:`langevin.plot` draws it.

figure = langevin.plot(quench)

# %%
# Replicas of one quenched sample are not independent. :func:`~langevin.observables.statistics.average` counts
# samples, and returns the mean with its standard error.

from langevin.observables.statistics import average

mean, error = average(quench["energy"])
print(f"energy per spin at t = {float(mean.time[-1]):g}: {float(mean[-1]):.3f} ± {float(error[-1]):.3f}")
print(f"for N → ∞, t → ∞, in closed form: {quench['energy'].attrs['asymptote']:.3f}")
