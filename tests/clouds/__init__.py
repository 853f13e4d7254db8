"""Providers in clouds: credentials, signatures, and scripted clouds that are as strict as the real ones."""
