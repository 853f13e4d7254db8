"""Providers: routes, credentials, and what they alone may say."""
