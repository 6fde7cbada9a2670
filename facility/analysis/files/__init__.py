"""One file: how it is opened, what it is called, which version of it there is, where it is read."""
