"""From what a user names to chunks: datasets -> files -> ranges of events.

Nothing here runs on a worker, and no event is read.
"""
