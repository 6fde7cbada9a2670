"""What a worker process is given and does, wherever it runs."""
