"""Dask in a process of ours: its settings, how it is loaded, how a server of it runs.

What a scheduler decides is in `facility.scheduler`, what a worker is given in `facility.worker`.
"""
