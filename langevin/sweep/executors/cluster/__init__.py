"""Members of a sweep are carried to other machines by Dask."""
