"""From what a user names to chunks: datasets -> files -> ranges of events."""
