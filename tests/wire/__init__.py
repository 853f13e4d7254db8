"""The wire formats, with bytes alone.

Hypothesis has no deadline here: on a busy machine the time of one example says nothing.
"""

from hypothesis import settings

settings.register_profile("aibridge", settings(), deadline=None, max_examples=60)
settings.load_profile("aibridge")
