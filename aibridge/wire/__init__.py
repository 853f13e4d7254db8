"""The wire formats, without I/O: bytes in, facts and verdicts out.

Nothing here knows a reactor, a request, a clock or a database.
"""
