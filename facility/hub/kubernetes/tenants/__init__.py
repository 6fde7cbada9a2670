"""Users' namespaces: made, compared with what they should be, repaired, cleared.

The manifests themselves are pure and in `facility.kubernetes.tenant`.
"""
