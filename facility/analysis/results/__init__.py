"""What comes of a run: the record of each chunk, the report, pictures, skims, comparisons.

Nothing here needs a Dask cluster.
"""
