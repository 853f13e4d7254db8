"""Authentication of actors, credentials in headers, and recognition of client programs."""
