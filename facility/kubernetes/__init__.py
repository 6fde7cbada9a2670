"""Pools as pods: manifests, what is asked of Kubernetes, and what its answers mean.

Manifests are pure functions; only `facility.kubernetes.client` speaks to the API server.
"""
