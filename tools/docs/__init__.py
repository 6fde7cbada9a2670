"""The documentation in `docs/`: what of it is made when it is built, and what is checked then."""
