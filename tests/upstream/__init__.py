"""The gateway's client."""
