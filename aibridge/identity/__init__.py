"""Who is asking, with which program."""
