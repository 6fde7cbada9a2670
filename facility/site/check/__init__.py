"""`facility site check`: what a Kubernetes cluster lacks of what the chart and its values need.

    reading -> Snapshot -> cluster, network, storage, nodes, images (pure) -> Finding -> report

Only `reading` and `probe` ask Kubernetes; the rest looks at what was read.
"""
