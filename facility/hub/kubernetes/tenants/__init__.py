"""Users' namespaces: made, compared with what they should be, repaired, cleared."""
