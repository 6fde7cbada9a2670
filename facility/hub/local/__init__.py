"""The hub on one machine: JupyterHub, its proxy and notebook servers of one person.

What it shares with the hub on Kubernetes is in `facility.hub` and `facility.hub.user_server`.
"""
