"""Streams as providers send them, in all the forms that a stream may have, and a way to send them through a tap."""

import json
import re
from itertools import pairwise
from pathlib import Path

from attrs import frozen

from aibridge.wire.chat.reader import CHAT
from aibridge.wire.formats import Thought, ToolCall
from aibridge.wire.messages.reader import MESSAGES
from aibridge.wire.responses.reader import RESPONSES
from aibridge.wire.tap import StreamTap

_FIXTURES = Path(__file__).with_name("fixtures")
_CITIES = {"city": "Oslo", "days": [1, 2]}
LIMIT = 1024 * 1024


def fixture(name):
    """The bytes of a stream among the fixtures."""
    return (_FIXTURES / f"{name}.sse").read_bytes()


@frozen
class Sample:
    """A whole stream of one API, and what it says. `request` is one that this is an answer to."""

    format: object
    stream: bytes
    failing: bytes
    last: bytes
    """The frame that ends it."""
    request: dict
    response_id: str
    tool_calls: list
    thoughts: list
    figures: tuple
    others: dict

    def reader(self):
        return self.format.reader(self.request)

    def tap(self, limit=LIMIT):
        return StreamTap(self.reader(), limit)


MESSAGES_SAMPLE = Sample(
    format=MESSAGES,
    stream=fixture("messages"),
    failing=fixture("messages_error"),
    last=b'event: message_stop\ndata: {"type":"message_stop"}\n\n',
    request={},
    response_id="msg_01Harbour",
    tool_calls=[
        ToolCall("srvtoolu_01Sea", "web_search", {"query": "tides today"}, {"type": "server_tool_use"}),
        ToolCall("toolu_01Oslo", "weather", _CITIES),
        ToolCall("toolu_02Now", "now", {}),
    ],
    thoughts=[Thought("Two ports, so two calls: Zürich, 你好.", "thinking")],
    figures=(15, 89, 4100, 300),
    others={"ephemeral_5m_input_tokens": 100, "ephemeral_1h_input_tokens": 200, "web_search_requests": 1},
)
CHAT_SAMPLE = Sample(
    format=CHAT,
    stream=fixture("chat"),
    failing=fixture("chat_error"),
    last=b"data: [DONE]\n\n",
    request={"stream": True, "stream_options": {"include_usage": True}},
    response_id="chatcmpl-Harbour",
    tool_calls=[
        ToolCall("call_oslo", "weather", _CITIES),
        ToolCall("call_now", "now", {}),
        ToolCall("call_patch", "patch", "{not json", {"type": "custom"}),
    ],
    thoughts=[],
    figures=(176, 80, 1024, 0),
    others={
        "total_tokens": 1280,
        "reasoning_tokens": 16,
        "prompt_tokens_details.audio_tokens": 3,
        "completion_tokens_details.audio_tokens": 5,
        "accepted_prediction_tokens": 0,
        "rejected_prediction_tokens": 0,
    },
)
RESPONSES_SAMPLE = Sample(
    format=RESPONSES,
    stream=fixture("responses"),
    failing=fixture("responses_error"),
    last=fixture("responses").split(b"\n\n")[-2] + b"\n\n",
    request={},
    response_id="resp_Harbour",
    tool_calls=[
        ToolCall("call_oslo", "weather", _CITIES, {"namespace": "mcp__sky"}),
        ToolCall("call_patch", "apply_patch", "*** Begin Patch\n{not json", {"type": "custom_tool_call"}),
        ToolCall("ws_1", "web_search", {"type": "search", "query": "tides today"}, {"type": "web_search_call"}),
    ],
    thoughts=[
        Thought("**Ports**\n\nTwo of them.", "reasoning_summary"),
        Thought("So two calls: Zürich.", "reasoning_summary"),
        Thought("I look it up 🛳️.", "commentary"),
    ],
    figures=(176, 80, 1024, 0),
    others={"total_tokens": 1280, "reasoning_tokens": 16},
)
SAMPLES = (MESSAGES_SAMPLE, CHAT_SAMPLE, RESPONSES_SAMPLE)


def replay(tap, pieces):
    """Send pieces through a tap. Return the bytes that passed at once, and those that were held until the end."""
    passed = b"".join([tap.feed(piece) for piece in pieces])
    tap.close()
    return passed, tap.release()


def read(sample, stream):
    """The answer that a stream makes, sent in one piece."""
    tap = sample.tap()
    replay(tap, [stream])
    return tap.answer


def cut(data, places):
    """Data in pieces, cut at these places."""
    edges = [0, *sorted(places), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


def frames(stream):
    """The frames of a stream whose lines end in LF."""
    return re.findall(rb".*?\n\n", stream, re.DOTALL)


def without_event_lines(stream):
    return re.sub(rb"(?m)^event: .*\n", b"", stream)


def without_spaces(stream):
    return re.sub(rb"(?m)^(event|data): ", rb"\1:", stream)


def commented(stream):
    return b": hello\n\n" + stream.replace(b"\n\n", b"\n: within\n\n: keep-alive\n\n")


def with_many_data_lines(stream):
    return re.sub(rb"(?m)^data: (\{.*)$", _spread, stream)


def with_unknown_events(stream):
    odd = b'event: weather_report\nid: 7\nretry: 10\ndata: {"type":"weather_report","index":0}\n\ndata: [1,\xff]\n\n'
    return odd + stream.replace(b"\n\n", b"\n\n" + odd, 3)


VARIANTS = {
    "as it came": lambda stream: stream,
    "CR LF": lambda stream: stream.replace(b"\n", b"\r\n"),
    "CR": lambda stream: stream.replace(b"\n", b"\r"),
    "byte order mark": lambda stream: b"\xef\xbb\xbf" + stream,
    "no event lines": without_event_lines,
    "no spaces": without_spaces,
    "comments": commented,
    "many data lines": with_many_data_lines,
    "unknown events": with_unknown_events,
}


def _spread(match):
    lines = json.dumps(json.loads(match[1]), indent=1, ensure_ascii=False).encode().split(b"\n")
    return b"\n".join(b"data: " + line for line in lines)
