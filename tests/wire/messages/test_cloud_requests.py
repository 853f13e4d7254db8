"""Requests and streams of the clouds' own clients."""

import json

from botocore.eventstream import EventStreamBuffer
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from aibridge.errors import BadRequest
from aibridge.wire.messages.bedrock import BedrockEncoder, BedrockStream
from aibridge.wire.messages.cloud_requests import CloudRequest

from ..streams import cut
from .test_bedrock import SSE, error


class CloudRequestTests(SynchronousTestCase):
    """What stands in the path and in members of the cloud's own goes where Anthropic's API has it."""

    def test_restored(self):
        """Model and stream are added, version and flags become headers, and every other byte stays."""
        body = b'{ "anthropic_version": "bedrock-2023-05-31", "max_tokens":1.0 ,"anthropic_beta":["a","b"]}'
        restored, headers = CloudRequest("m", True, True).restore(body)
        self.assertEqual(restored, b'{ "max_tokens":1.0,"model":"m","stream":true}')
        self.assertEqual(headers, {b"anthropic-version": b"2023-06-01", b"anthropic-beta": b"a,b"})

    def test_versions(self):
        """A version of Anthropic's own goes on; that of a cloud does not."""
        for sent, version in (
            ("2026-10-21", b"2026-10-21"),
            ("vertex-2023-10-16", b"2023-06-01"),
            (None, b"2023-06-01"),
        ):
            body = json.dumps({"model": "m", "anthropic_version": sent}).encode()
            restored, headers = CloudRequest().restore(body)
            self.assertEqual((json.loads(restored), headers), ({"model": "m"}, {b"anthropic-version": version}))

    def test_no_header_breaks_out(self):
        """Flags that no header can carry are dropped."""
        body = json.dumps({"anthropic_beta": ["a", "b\r\nc: d", 1, "é"]}).encode()
        self.assertEqual(CloudRequest("m").restore(body)[1][b"anthropic-beta"], b"a")

    def test_no_object(self):
        """A body that is no JSON object is refused."""
        for body in (b"", b"[]", b"{", b"\xff"):
            self.assertRaises(BadRequest, CloudRequest("m").restore, body)


class BedrockEncoderTests(SynchronousTestCase):
    """Anthropic's events in Amazon's framing."""

    @given(st.data())
    def test_there_and_back(self, data):
        """A stream that is framed and read again is the same, however it was cut."""
        places = data.draw(st.sets(st.integers(0, len(SSE) - 1)))
        encoder, reader = BedrockEncoder(), BedrockStream()
        framed = b"".join(map(encoder.encode, cut(SSE, places)))
        self.assertEqual(reader.feed(framed) + reader.close(), SSE)

    def test_botocore_reads_it(self):
        """Botocore's own reader finds the chunks."""
        buffer = EventStreamBuffer()
        buffer.add_data(BedrockEncoder().encode(SSE))
        found = list(buffer)
        self.assertEqual({message.headers[":event-type"] for message in found}, {"chunk"})
        self.assertEqual(len(found), SSE.count(b"event: "))

    def test_errors(self):
        """An error event becomes the exception that Bedrock has for it; a comment becomes nothing."""
        for kind, name in (
            ("overloaded_error", "serviceUnavailableException"),
            ("odd_error", "internalServerException"),
        ):
            event = b'event: error\ndata: {"type":"error","error":{"type":"%b","message":"no"}}\n\n' % kind.encode()
            framed = BedrockEncoder().encode(b": keep-alive\n\n" + event)
            [message] = _messages(framed)
            self.assertEqual(message.headers[":exception-type"], name)
            self.assertEqual(error(BedrockStream().feed(framed))["message"], "no")


def _messages(data):
    buffer = EventStreamBuffer()
    buffer.add_data(data)
    return list(buffer)
