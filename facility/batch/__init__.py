"""Batch on the same Kubernetes: what an administrator asks of it.

`bursts` makes a template into Jobs, `accounts` says what became of each index: both are pure.
"""
