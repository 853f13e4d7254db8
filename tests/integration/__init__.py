"""The whole gateway on sockets of this machine."""
