"""Requests to the API server of Kubernetes: with which account, of which object, how it answers.

What the objects hold is not here.
"""
