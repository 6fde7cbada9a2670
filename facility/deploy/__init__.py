"""Launch a Dask cluster and hold on to it: `cluster()`, what it returns, and its pools.

How processes and pods start and end is the backends' (`facility.local`, `facility.kubernetes`).
"""
