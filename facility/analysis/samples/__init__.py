"""Synthetic files of Z bosons and of a search, and the physics to analyse them."""
