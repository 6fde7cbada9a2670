"""The hub on one machine: JupyterHub, its proxy and notebook servers of one person."""
