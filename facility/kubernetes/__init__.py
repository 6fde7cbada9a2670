"""Pools as pods: manifests, what is asked of Kubernetes, and what its answers mean."""
