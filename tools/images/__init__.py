"""Builds the container images of `images/`: their list, packages, engine and order."""
