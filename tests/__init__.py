"""The tests run on the reactor that the gateway runs on, so that ``trial tests`` needs no option.

They go through no proxy that the environment names.
"""

import os
import sys

for _name in ("http_proxy", "https_proxy", "all_proxy"):
    os.environ.pop(_name, None)
    os.environ.pop(_name.upper(), None)

if "twisted.internet.reactor" not in sys.modules:
    from twisted.internet import asyncioreactor

    asyncioreactor.install()
