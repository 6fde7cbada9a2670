"""What the operating system does for us: cores and memory, files, logs, processes, signals.

It knows neither Dask nor Kubernetes.
"""
