"""Certificates of Dask clusters, and the user's credentials on the grid.

Who may do what on Kubernetes is in `facility.kubernetes.tenant`.
"""
