"""A site's Kubernetes cluster: whether it has what the chart needs, and how well it takes jobs.

An administrator's commands, from outside of Kubernetes, before users come. What the hub does for
users afterwards is in `facility.hub`.
"""
