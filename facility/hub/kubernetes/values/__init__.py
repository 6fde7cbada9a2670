"""The chart's values: their model, which is their schema and documentation too."""
