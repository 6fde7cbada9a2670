"""From a file's bytes to coffea's events.

What a processor makes of them, and what happens when reading fails, is
`facility.analysis.runner`.
"""
