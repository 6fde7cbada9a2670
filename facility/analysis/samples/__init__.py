"""Synthetic files of Z bosons and of a search, and the physics to analyse them.

No other part of an analysis uses it: it is for examples, tutorials and tests.
"""
