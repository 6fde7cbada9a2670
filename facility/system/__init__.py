"""What the operating system does for us: cores and memory, files, logs, processes, signals."""
