"""Pools as worker processes on this machine."""
