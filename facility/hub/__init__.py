"""The hub: JupyterHub on one machine or on Kubernetes, and what runs in users' servers."""
