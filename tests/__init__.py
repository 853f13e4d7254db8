"""The tests run on the reactor that the gateway runs on, so that ``trial tests`` needs no option."""

import sys

if "twisted.internet.reactor" not in sys.modules:
    from twisted.internet import asyncioreactor

    asyncioreactor.install()
