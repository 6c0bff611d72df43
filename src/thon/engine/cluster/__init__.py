"""The items of one job spread over workers elsewhere, by Dask."""
