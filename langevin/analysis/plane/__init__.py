"""Planes go through stored configurations; they show the landscape, projected curves and trajectories.

The geometry is `langevin.observables.landscape.planes`; the figure, `langevin.plotting.plane`.
"""
