"""The same processor in two pools, compared event by event: ARM with amd64, a GPU with a CPU.

columns (on the workers) -> events -> differing -> outcome -> page. Results that are sums are
compared by `facility.analysis.results.comparison`.
"""
