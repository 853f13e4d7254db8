"""The kinds of provider: their routes, credentials and headers."""
