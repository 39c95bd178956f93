"""
Spins beside their equations for N → ∞
======================================

You set 64 spins beside the Cugliandolo-Kurchan equations, which hold for infinitely many: both write the
same file, with the same names.
"""

import langevin

record = {"waiting_times": [1.0, 3.0], "lags": {"start": 0.1, "per_decade": 8}}
spins = langevin.run(
    {
        "title": "64 spins",
        "system": {"name": "pspin", "p": 3, "n": 64},
        "dynamics": {"temperature": 0.5, "dt": 0.02, "t_max": 10.0},
        "ensemble": {"replicas": 32, "samples": 16, "seed": 1},
        "record": record,
    }
)
equations = langevin.run(
    {
        "title": "N → ∞",
        "system": {"name": "cugliandolo_kurchan", "p": 3},
        "dynamics": {"temperature": 0.5, "t_max": 10.0, "tolerance": 1e-4},
        "record": record,
    }
)

# %%
# In xarray they are subtracted like any two arrays: equal labels meet.

from langevin.observables.statistics import average

mean, error = average(spins["correlation"])
difference = (mean - equations["correlation"].squeeze("replica")).sel(waiting_time=3.0)
for lag in (0.1, 1.0, 5.01):
    d = float(difference.sel(lag=lag, method="nearest"))
    e = float(error.sel(waiting_time=3.0).sel(lag=lag, method="nearest"))
    print(f"C(3, 3 + {lag:g}): 64 spins differ from N → ∞ by {d:+.3f} ± {e:.3f}")

# %%
# And in one figure:

from matplotlib.figure import Figure

figure = Figure(figsize=(6, 4), layout="constrained")
axes = figure.subplots()
for t_w, hue in ((1.0, "C0"), (3.0, "C1")):
    points, bars = mean.sel(waiting_time=t_w), error.sel(waiting_time=t_w)
    axes.errorbar(points["lag"], points, bars, fmt="o", ms=4, color=hue, label=f"64 spins, $t_w$ = {t_w:g}")
    line = equations["correlation"].sel(waiting_time=t_w).squeeze("replica")
    axes.plot(line["lag"], line, color=hue, label=f"$N \\to \\infty$, $t_w$ = {t_w:g}")
axes.set(xscale="log", xlabel="lag $t$", ylabel="correlation $C(t_w, t_w + t)$")
axes.legend(frameon=False)
figure

# %%
# ``langevin compare spins.nc equations.nc`` does the same for two files, with a table of differences and
# their errors.
