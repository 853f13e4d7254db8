"""Bedrock's event streams as Anthropic's server-sent events."""

import json

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from aibridge.wire.messages.bedrock import BedrockStream
from aibridge.wire.messages.errors import ErrorTranslator, anthropic_error

from ..eventstreams import chunk, chunks_of, exception, message
from ..streams import cut


def translate(*pieces):
    """The events of an answer that comes in these pieces and then ends."""
    stream = BedrockStream()
    return b"".join([*map(stream.feed, pieces), stream.close()])


def error(events):
    """The error object of the last event."""
    head, _, data = events.rstrip(b"\n").rpartition(b"\ndata: ")
    assert head.endswith(b"event: error"), events
    return json.loads(data)["error"]


SSE = (
    b'event: message_start\ndata: {"type":"message_start","message":{"id":"msg_1","usage":{"input_tokens":1}}}\n\n'
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"text":"\\u00e9 \xc3\xa9"}}\n\n'
    b'event: message_stop\ndata: {"type":"message_stop","amazon-bedrock-invocationMetrics":{"inputTokenCount":1}}\n\n'
)


class BedrockStreamTests(SynchronousTestCase):
    """Each chunk becomes an event; everything that is no chunk ends the answer with an error."""

    def test_byte_for_byte(self):
        """The events are those of Anthropic's own API, with the JSON of the chunks byte for byte."""
        self.assertEqual(translate(chunks_of(SSE)), SSE)

    def test_every_cut(self):
        """The events are the same, wherever the stream is cut in two."""
        stream = chunks_of(SSE)
        for place in range(len(stream)):
            self.assertEqual(translate(stream[:place], stream[place:]), SSE)

    @given(st.data())
    def test_any_cuts(self, data):
        """The events are the same in however many pieces the stream comes."""
        stream = chunks_of(SSE)
        places = data.draw(st.sets(st.integers(0, len(stream) - 1)))
        self.assertEqual(translate(*cut(stream, places)), SSE)

    def test_type_elsewhere(self):
        """An event whose type does not come first, or among spaces, has its name all the same."""
        for event in (b'{"index":0,"type":"ping"}', b' { "type" : "ping" }', b'{"type":"ping"}'):
            self.assertEqual(translate(chunk(event)), b"event: ping\ndata: %b\n\n" % event)

    def test_line_ends_in_json(self):
        """JSON over several lines becomes several lines of data, which clients join again."""
        self.assertEqual(
            translate(chunk(b'{"type":\n"ping"\r\n}')), b'event: ping\ndata: {"type":\ndata: "ping"\ndata: }\n\n'
        )

    def test_exceptions(self):
        """An exception ends the answer as an error of Anthropic's type; what follows is not read."""
        for name, kind in (
            ("throttlingException", "rate_limit_error"),
            ("ThrottlingException", "rate_limit_error"),
            ("modelTimeoutException", "timeout_error"),
            ("serviceUnavailableException", "overloaded_error"),
            ("modelStreamErrorException", "api_error"),
            ("internalServerException", "api_error"),
            ("validationException", "api_error"),
            ("newException", "api_error"),
        ):
            events = translate(chunks_of(SSE[:120]), exception(name, "Too many tokens."), chunks_of(SSE))
            self.assertEqual(error(events), {"type": kind, "message": "Too many tokens."})
            self.assertEqual(events.count(b"event: "), 2)

    def test_error_message(self):
        """An unmodelled error, which has no payload, is an error event too."""
        headers = {":message-type": "error", ":error-code": "InternalError", ":error-message": "It broke."}
        self.assertEqual(error(translate(message(headers))), {"type": "api_error", "message": "It broke."})

    def test_wrong_messages(self):
        """A wrong checksum, an unknown message and a chunk without an event end the answer as an error."""
        good = chunk({"type": "ping"})
        unknown = message({":message-type": "event", ":event-type": "surprise"}, b"{}")
        no_bytes = message({":message-type": "event", ":event-type": "chunk"}, b'{"bytes":1}')
        no_base64 = message({":message-type": "event", ":event-type": "chunk"}, b'{"bytes":"a"}')
        for wrong in (
            good[:-1] + b"\0",
            unknown,
            no_bytes,
            no_base64,
            chunk(b"[]"),
            chunk(b'{"type":"a\\nb"}'),
            b"\0" * 16,
        ):
            events = translate(good, wrong, good)
            self.assertEqual(error(events)["type"], "api_error", wrong)
            self.assertEqual(events.count(b"event: "), 2)

    def test_cut_off(self):
        """An answer that ends within a message ends as an error; one that ends between messages does not."""
        whole = chunk({"type": "ping"})
        self.assertEqual(
            error(translate(whole, whole[:-1])),
            {"type": "api_error", "message": "Bedrock's answer was cut off within a message."},
        )
        self.assertEqual(translate(whole), b'event: ping\ndata: {"type":"ping"}\n\n')

    def test_padding_and_initial_response(self):
        """Padding is not shown, and the message that some services begin with is no event."""
        begin = message({":message-type": "event", ":event-type": "initial-response"}, b"{}")
        self.assertEqual(translate(begin, chunk({"type": "ping"}, p="abcd")), b'event: ping\ndata: {"type":"ping"}\n\n')

    @given(st.binary(max_size=200))
    def test_any_bytes(self, data):
        """Whatever comes, nothing is raised, and the answer ends with an error unless it is empty."""
        events = translate(data)
        self.assertEqual(bool(data), b"event: error" in events)


class AnthropicErrorTests(SynchronousTestCase):
    """Errors of clouds get Anthropic's shape."""

    def check(self, status, body, kind, text, name="", request_id=None):
        found = json.loads(anthropic_error(status, json.dumps(body).encode(), name, request_id))
        expected = {"type": "error", "error": {"type": kind, "message": text}}
        self.assertEqual(found, expected | ({"request_id": request_id} if request_id else {}))

    def test_own_shape(self):
        """A body that has Anthropic's shape keeps its bytes."""
        body = b'{ "type":"error", "error":{"type":"invalid_request_error","message":"no"}}'
        self.assertIs(anthropic_error(400, body), body)

    def test_amazon(self):
        """AWS names the error in a header or in ``__type``; its request id is kept."""
        self.check(400, {"message": "bad"}, "invalid_request_error", "bad", "ValidationException:http://x", "id-1")
        self.check(400, {"Message": "bad"}, "invalid_request_error", "bad")
        self.check(403, {"message": "old"}, "authentication_error", "old", "ExpiredTokenException")
        self.check(429, {"message": "slow", "__type": "com.amazon#ThrottlingException"}, "rate_limit_error", "slow")
        self.check(408, {"message": "late"}, "timeout_error", "late", "ModelTimeoutException")
        self.check(500, {"message": "oh"}, "api_error", "oh", "InternalServerException")

    def test_google(self):
        """Google wraps its errors, sometimes in a list."""
        error = {"error": {"code": 429, "message": "Quota exceeded.", "status": "RESOURCE_EXHAUSTED"}}
        self.check(429, error, "rate_limit_error", "Quota exceeded.")
        self.check(
            401, [{"error": {"code": 401, "message": "no", "status": "UNAUTHENTICATED"}}], "authentication_error", "no"
        )

    def test_azure(self):
        """Azure's codes are numbers as text, and its status tells the rest."""
        self.check(
            401, {"error": {"code": "401", "message": "Access denied."}}, "authentication_error", "Access denied."
        )
        self.check(404, {"error": {"code": "DeploymentNotFound", "message": "none"}}, "not_found_error", "none")

    def test_no_json(self):
        """A body that says nothing is told by its status."""
        for body in (b"", b"<html>", b"[]", b"3"):
            found = json.loads(anthropic_error(503, body))
            self.assertEqual(
                found["error"], {"type": "overloaded_error", "message": "The provider responded with HTTP 503."}
            )

    def test_long(self):
        """A body that is longer than errors are passes as it is, however it is cut."""
        translator = ErrorTranslator(400)
        body = b"x" * 70_000
        self.assertEqual(
            translator.feed(body[:10]) + translator.feed(body[10:]) + translator.feed(b"y") + translator.close(),
            body + b"y",
        )

    @given(st.binary(max_size=99), st.integers(400, 599))
    def test_any_bytes(self, body, status):
        """Whatever comes, the result is an error in Anthropic's shape."""
        found = json.loads(anthropic_error(status, body))
        self.assertEqual(found["type"], "error")
