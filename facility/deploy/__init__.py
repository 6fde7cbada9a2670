"""Launch a Dask cluster and hold on to it: `cluster()`, what it returns, and its pools."""
