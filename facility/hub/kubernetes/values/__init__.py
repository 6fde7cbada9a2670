"""The chart's values: their model, which is their schema and documentation too.

What is made of them is elsewhere: nothing here talks to Kubernetes.
"""
