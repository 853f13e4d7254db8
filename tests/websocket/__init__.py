"""WebSockets, in memory and on sockets."""
