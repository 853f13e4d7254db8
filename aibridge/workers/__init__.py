"""Several processes on one port: the parent keeps them running, and adds up what they report."""
