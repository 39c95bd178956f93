"""What a notebook finds on a data set of xarray: `ds.langevin`."""
