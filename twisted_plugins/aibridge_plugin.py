"""Makes ``twistd aibridge`` known. Every user of twistd imports this, so it imports nothing that costs."""

from twisted.application.service import ServiceMaker

aibridge = ServiceMaker("aibridge", "aibridge.tap", "A gateway between AI clients and AI providers", "aibridge")
