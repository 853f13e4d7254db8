"""The site and what it serves."""
