"""The hub on Kubernetes: users' namespaces, their servers as pods, and what keeps both in order.

    values.yaml -> values/ -> tenants/ (namespaces) -> spawner (servers) -> tenants/keeper (order)

The chart helm/facility installs it; `values` is the model of its values.yaml, from which the
chart's schema and its documentation are generated.
"""
