"""What recording costs, where the records go, and what a long history changes."""
