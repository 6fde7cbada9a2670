"""Keys of the hub and users' certificate authorities made anew while all goes on.

`rotate` is what an administrator's command does in the hub's pod; `in_use` is the part of it that
only the hub's own process can do. Ends of what a user holds are in
`facility.hub.kubernetes.revocation`.
"""
