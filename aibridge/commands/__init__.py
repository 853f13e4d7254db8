"""The commands of the operator's tool, each a function of the configuration that yields lines of output."""
