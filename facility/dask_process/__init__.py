"""Dask in a process of ours: its settings, how it is loaded, how a server of it runs."""
