"""What Helm runs before an installation or upgrade, and before the facility is taken away.

What the hub does while it runs is not here.
"""
