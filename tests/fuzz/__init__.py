"""Whatever parses what others send, fed with what nobody would think of: `python -m tests.fuzz`, or `tox -e fuzz`.

A target is a function of bytes that fails where a promise is broken. What was found once is kept in ``corpus``.
"""
