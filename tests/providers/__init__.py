"""Providers: settings, routes and URLs."""
