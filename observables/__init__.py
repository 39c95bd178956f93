"""Observables computed from results: numpy, scipy and xarray only, never a system."""
