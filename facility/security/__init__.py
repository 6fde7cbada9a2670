"""Certificates of Dask clusters, and the user's credentials on the grid."""
