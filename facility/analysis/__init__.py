"""Columnar analysis of ATLAS files with coffea: filesets, reading, a Z peak, synthetic samples.

Nothing is imported here, so that a program pays only for the part that it uses.
"""
