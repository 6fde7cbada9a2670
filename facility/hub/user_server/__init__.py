"""What runs in a user's notebook server.

What the hub does about servers is in `facility.hub.local` and `facility.hub.kubernetes`.
"""
