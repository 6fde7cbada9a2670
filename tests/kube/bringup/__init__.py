"""A real Kubernetes on this machine to test on: `python -m tests.kube.bringup up|down|test`."""
