"""The wire formats of the APIs, without any I/O: bytes in; facts, verdicts and bytes out.

Nothing here uses a reactor, an HTTP request, a clock or a database.
"""
