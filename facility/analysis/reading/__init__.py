"""From a file's bytes to coffea's events."""
