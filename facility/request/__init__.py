"""What a user asks of a Dask cluster: the words of a call -> a checked request.

It is pure: nothing here starts, ends or asks anything.
"""
