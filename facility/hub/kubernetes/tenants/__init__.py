"""Users' namespaces: made, compared with what they should be, repaired, cleared.

plan (pure) -> difference (pure) -> apply. The manifests themselves are pure and in
`facility.kubernetes.tenant`.
"""
