"""What a worker process is given and does, wherever it runs.

Starting and ending such processes is the backends'.
"""
