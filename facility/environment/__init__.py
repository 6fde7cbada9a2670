"""What a notebook has above its image: found, packed, sent, and put before workers.

installed -> difference (pure) -> archive -> sending (the notebook) -> exchange (the scheduler) ->
bootstrap (a worker, before it joins). Which interpreter workers run is the backends'.
"""
