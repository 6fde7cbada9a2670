"""The site's batch: what an administrator tells Harvester, and what runs of it.

What the chart makes for it is in `helm/facility/templates/batch`; nothing here runs in its pods.
`namespace` is what the chart says of it; `kubeconfig`, `queue` and `status` are what `command` is
asked for.
"""
