"""How a processor travels: pickled with the user's modules, and unpickled as new each time.

Results travel as any pickle does; adding them up is done in `facility.analysis.runner`.
"""
