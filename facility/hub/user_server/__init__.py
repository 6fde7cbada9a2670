"""What runs in a user's notebook server."""
