"""The client's side of an exchange, and the operator's site."""
