"""Two workers on hosts of their own, of which one is cut off in the middle of its work."""
