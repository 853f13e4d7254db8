"""Rounds of the Messages API."""

import json

import anthropic
import httpx2
from twisted.trial.unittest import SynchronousTestCase

from aibridge.wire.history import KnownTurns
from aibridge.wire.messages.rounds import MESSAGES_TOOLS
from aibridge.wire.tap import BodyTap, StreamTap
from aibridge.wire.tool_calls import ToolResult

from ..dialogues import LIMIT, TOOLS, Exchange, MessagesApi, call, events, play, results_of, say, think

API = MessagesApi()
TIDES, NOW, OWN = "bmcp_sky_tides", "bmcp_sky_now", "own_tool"
QUESTION = API.user("tides?")
ROUNDS = [[think("t1"), say("I look. "), call("c1", TIDES)], [think("t2"), say("Calm.")]]
MARK = {"type": "ephemeral"}


def dialogue_over(messages=QUESTION, turns=(), **more):
    request = {"model": "m", "stream": True, "messages": messages, **more}
    return MESSAGES_TOOLS.dialogue(json.dumps(request).encode(), request, TOOLS, KnownTurns(turns))


def sent(dialogue):
    return json.loads(dialogue.request())


def answer(dialogue, rounds):
    told = b""
    for number, parts in enumerate(rounds):
        told += play(dialogue, API, f"msg_{number}", parts, True)
        if dialogue.calls:
            dialogue.add_results(results_of(dialogue.calls))
    return told


class RequestTests(SynchronousTestCase):
    """The provider's requests."""

    def test_other_bytes_stay(self):
        """Whatever else is in the body keeps its bytes."""
        odd = (
            b'{ "system":"s","messages":[{"role":"user","content":"h\\u00e9"}] , "tools" : [ {"name":"own"} ],"x":1.0 }'
        )
        dialogue = MESSAGES_TOOLS.dialogue(odd, json.loads(odd), TOOLS[:1], KnownTurns())
        head, _, tail = dialogue.request().partition(b'{"name":"bmcp_sky_tides"')
        self.assertEqual(head, odd.partition(b"[ {")[0] + b"[")
        self.assertTrue(tail.endswith(b',{"name":"own"}],"x":1.0 }'))

    def test_arguments_as_written(self):
        """Arguments go back and to the tool as the model wrote them: large numbers and spaces too."""
        written = '{"a": 1.0,  "b":12345678901234567890123}'
        dialogue = dialogue_over()
        answer(dialogue, [[call("c1", TIDES, written)]])
        self.assertIn(written.encode(), dialogue.request())

    def test_arguments_that_are_none(self):
        """Arguments that are no JSON are shown to the model in an object, and to the tool too."""
        dialogue = dialogue_over()
        stream = API.stream("msg_1", [call("c1", TIDES, "{}")]).replace(b'"partial_json": "{"', b'"partial_json": "{a"')
        tap = StreamTap(dialogue.new_reader(), LIMIT)
        tap.feed(stream)
        self.assertEqual(json.loads(dialogue.calls[0].arguments), {"INVALID_JSON": "{a}"})

    def test_results(self):
        """Texts and images are parts of a result, and an error is called one."""
        dialogue = dialogue_over()
        play(dialogue, API, "msg_1", [call("c1", TIDES)], True)
        image = {"type": "image", "data": "QUJD", "mime_type": "image/png"}
        dialogue.add_results([ToolResult(dialogue.calls[0], [{"type": "text", "text": "a"}, image], error="a")])
        source = {"type": "base64", "media_type": "image/png", "data": "QUJD"}
        content = [{"type": "text", "text": "a"}, {"type": "image", "source": source}]
        block = {"type": "tool_result", "tool_use_id": "c1", "content": content, "is_error": True}
        self.assertEqual(sent(dialogue)["messages"][-1], {"role": "user", "content": [block]})

    def test_thread(self):
        """A message thread goes on from the last message, with the results alone."""
        dialogue = dialogue_over(thread={"type": "create"}, system="s")
        answer(dialogue, ROUNDS[:1])
        body = sent(dialogue)
        self.assertEqual(body["thread"], {"type": "continue", "previous_message_id": "msg_0"})
        self.assertEqual([message["role"] for message in body["messages"]], ["user"])
        self.assertFalse({"tools", "system"} & body.keys())

    def test_where_tools_have_no_place(self):
        """Not in a thread that goes on, whose tools are fixed; thoughts bind the tools that they were thought with."""
        thread = {"type": "continue", "previous_message_id": "msg_1"}
        self.assertFalse(MESSAGES_TOOLS.may_offer({"model": "m", "thread": thread}))
        self.assertNotIn("tools", sent(dialogue_over(thread=thread)))
        self.assertTrue(MESSAGES_TOOLS.forbids({"tool_choice": {"type": "none"}}))
        self.assertFalse(MESSAGES_TOOLS.forbids({"tool_choice": {"type": "auto"}}))
        self.assertTrue(MESSAGES_TOOLS.bound({"messages": API.said([think("t")])}))
        self.assertFalse(MESSAGES_TOOLS.bound({"messages": API.said([say("t")])}))


class AnswerTests(SynchronousTestCase):
    """The client's answer."""

    def test_own_bytes_until_something_is_hidden(self):
        """Frames pass as they came until one is hidden."""
        dialogue = dialogue_over()
        stream = API.stream("msg_1", ROUNDS[0])
        told = StreamTap(dialogue.new_reader(), LIMIT).feed(stream)
        self.assertTrue(stream.startswith(told))
        self.assertIn(b"I lo", told)

    def test_pings(self):
        """Pings of any round pass."""
        dialogue = dialogue_over()
        for _ in range(2):
            tap = StreamTap(dialogue.new_reader(), LIMIT)
            told = tap.feed(dialogue.keep_alive() + API.stream("msg_1", [call("c1", TIDES)]))
            self.assertIn(dialogue.keep_alive(), told)
            dialogue.add_results(results_of(dialogue.calls))

    def test_citations(self):
        """A block's citations are remembered with it."""
        dialogue = dialogue_over()
        stream = API.stream("msg_1", [say("So."), call("c1", TIDES)])
        delta = {"type": "citations_delta", "citation": {"cited_text": "x"}}
        event = json.dumps({"type": "content_block_delta", "index": 0, "delta": delta}).encode()
        stream = stream.replace(b"event: content_block_stop", b"data: %b\n\nevent: content_block_stop" % event, 1)
        StreamTap(dialogue.new_reader(), LIMIT).feed(stream)
        dialogue.add_results(results_of(dialogue.calls))
        self.assertEqual(sent(dialogue)["messages"][1]["content"][0]["citations"], [{"cited_text": "x"}])

    def test_other_kinds_of_calls(self):
        """Only a client's kind of call can be one of the gateway's."""
        dialogue = dialogue_over()
        block = {"type": "server_tool_use", "id": "s1", "name": TIDES, "input": {}}
        body = json.dumps({"id": "msg_1", "content": [block], "stop_reason": "tool_use"}).encode()
        tap = BodyTap(dialogue.new_reader(), LIMIT)
        tap.feed(body)
        tap.close()
        self.assertEqual(tap.release(), body)
        self.assertEqual(list(dialogue.calls), [])

    def test_sdk(self):
        """Anthropic's own accumulator takes the merged stream."""
        mixed = [say("And "), call("c2", NOW), call("o1", OWN, "{}"), call("c3", TIDES), call("o2", OWN, "{}")]
        told = answer(dialogue_over(), [*ROUNDS[:1], mixed])
        respond = httpx2.MockTransport(
            lambda request: httpx2.Response(200, content=told, headers={"content-type": "text/event-stream"})
        )
        client = anthropic.Anthropic(api_key="k", base_url="http://x", http_client=httpx2.Client(transport=respond))
        with client.messages.stream(model="m", max_tokens=9, messages=QUESTION) as stream:
            final = stream.get_final_message()
        kinds = [block.type for block in final.content]
        self.assertEqual(kinds, ["thinking", "text", "text", "tool_use", "tool_use"])
        self.assertEqual((final.id, final.stop_reason), ("msg_0", "tool_use"))
        self.assertEqual((final.usage.input_tokens, final.usage.output_tokens), (20, 10))
        self.assertEqual(len([event for event in events(told) if event["type"] == "message_start"]), 1)


class PastTests(SynchronousTestCase):
    """Hidden rounds are back in their places."""

    def _exchange(self, *rounds):
        exchange = Exchange(API, True)
        exchange.turn(QUESTION, rounds or ROUNDS)
        return exchange

    def test_breakpoints(self):
        """The client's cache breakpoints stay on the blocks that it set them on."""
        exchange = self._exchange()
        blocks = exchange.history[-1]["content"]
        blocks[1]["cache_control"] = MARK
        blocks[-1]["cache_control"] = MARK
        body = sent(dialogue_over([*exchange.history, *API.user("more")], exchange.turns))
        said = [message for message in body["messages"] if message["role"] == "assistant"]
        marked = [[("cache_control" in block) for block in message["content"]] for message in said]
        self.assertEqual(marked, [[False, True, False], [False, True]])

    def test_thoughts_dropped(self):
        """A client that drops thoughts gets those of hidden rounds back, in their place."""
        exchange = self._exchange()
        exchange.history[-1]["content"] = [b for b in exchange.history[-1]["content"] if b["type"] == "text"]
        body = sent(dialogue_over(exchange.history, exchange.turns))
        self.assertEqual(body["messages"][:3], exchange.seen[:3])
        self.assertEqual(body["messages"][3]["content"], [{"type": "text", "text": "Calm."}])

    def test_words_alone(self):
        """A message whose content is text is known by its words."""
        exchange = self._exchange([call("c1", TIDES)], [say("Calm.")])
        exchange.history[-1]["content"] = "Calm."
        body = sent(dialogue_over(exchange.history, exchange.turns))
        self.assertEqual(body["messages"][:3], exchange.seen[:3])

    def test_one_answer_as_two_messages(self):
        """A client may send each round's part as a message: what was hidden comes back once."""
        exchange = self._exchange()
        first, last = exchange.history[-1]["content"][:2], exchange.history[-1]["content"][2:]
        history = [*QUESTION, *({"role": "assistant", "content": blocks} for blocks in (first, last))]
        self.assertEqual(sent(dialogue_over(history, exchange.turns))["messages"], exchange.seen)

    def test_waiting_results_and_text(self):
        """The gateway's results stand before whatever the user says, be it text alone."""
        exchange = self._exchange([call("c1", TIDES), call("o1", OWN)])
        body = sent(dialogue_over([*exchange.history, {"role": "user", "content": "never mind"}], exchange.turns))
        kinds = [block["type"] for block in body["messages"][-1]["content"]]
        self.assertEqual(kinds, ["tool_result", "text"])

    def test_thread_goes_on(self):
        """The message that the client goes on from is the provider's last; waiting results are put to the client's."""
        exchange = self._exchange(ROUNDS[0], [call("c2", NOW), call("o1", OWN)])
        turn = exchange.turns[0]
        thread = {"type": "continue", "previous_message_id": turn.client_id}
        body = sent(dialogue_over(API.results([{"id": "o1"}]), exchange.turns, thread=thread))
        self.assertEqual(body["thread"]["previous_message_id"], turn.provider_id)
        self.assertEqual([block["tool_use_id"] for block in body["messages"][0]["content"]], ["c2", "o1"])
        self.assertTrue(set(MESSAGES_TOOLS.anchors({"thread": thread})) <= set(turn.anchors))
