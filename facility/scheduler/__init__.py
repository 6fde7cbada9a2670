"""What the scheduler of a Dask cluster does beside distributed's: routing, demand, draining, ends.

It imports distributed and names only, and nothing of the library is pickled to a scheduler: it
learns the pools of its Dask cluster as JSON, at its start and from the owner's calls later on.
"""
