"""Authentication of actors, credentials, and client programs."""
