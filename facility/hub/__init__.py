"""The hub: JupyterHub on one machine or on Kubernetes, and what runs in users' servers.

Dask clusters do not need it, and nothing below imports it.
"""
