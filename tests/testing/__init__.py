"""The public test doubles, from the side of those who test with them."""
