"""Questions about the records, as plain functions from a filter to rows; the console, its API and commands use them.

Each function takes an open SQLAlchemy connection, and reads only. Nothing here knows HTTP.
"""
