"""How a processor travels: pickled with the user's modules, and unpickled as new each time."""
