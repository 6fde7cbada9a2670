"""Pools as worker processes on this machine.

What workers do wherever they run is in `facility.worker`.
"""
