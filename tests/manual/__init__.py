"""The commands of the manual, run as it shows them."""
