"""Rounds of Chat Completions."""

import json

import httpx2
import openai
from twisted.trial.unittest import SynchronousTestCase

from aibridge.wire.chat.reader import CHAT
from aibridge.wire.chat.rounds import CHAT_TOOLS
from aibridge.wire.history import KnownTurns
from aibridge.wire.sse import make_frame
from aibridge.wire.tap import BodyTap, StreamTap
from aibridge.wire.tool_calls import ToolResult

from ..dialogues import LIMIT, TOOLS, ChatApi, Exchange, call, events, play, results_of, say, think

API = ChatApi()
TIDES, NOW, OWN = "bmcp_sky_tides", "bmcp_sky_now", "own_tool"
QUESTION = API.user("tides?")
ROUNDS = [[think("t1"), say("I look. "), call("c1", TIDES)], [think("t2"), say("Calm.")]]
ASKING_USAGE = {"stream_options": {"include_usage": True}}


def dialogue_over(messages=QUESTION, turns=(), **more):
    request = {"model": "m", "stream": True, "messages": messages, **ASKING_USAGE, **more}
    return CHAT_TOOLS.dialogue(json.dumps(request).encode(), request, TOOLS, KnownTurns(turns))


def sent(dialogue):
    return json.loads(dialogue.request())["messages"]


def answer(dialogue, rounds):
    told = b""
    for number, parts in enumerate(rounds):
        told += play(dialogue, API, f"chatcmpl_{number}", parts, True)
        if dialogue.calls:
            dialogue.add_results(results_of(dialogue.calls))
    return told


def chunk(delta, finish=None, answer_id="chatcmpl_1", **more):
    choices = [{"index": 0, "delta": delta, "finish_reason": finish}]
    return make_frame(json.dumps({"id": answer_id, "created": 1, "choices": choices, **more}).encode())


def piece(at, call_id, name, arguments="{}"):
    return {"index": at, "id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def hear(dialogue, *told):
    tap = StreamTap(dialogue.new_reader(), LIMIT)
    passed = tap.feed(b"".join(told) + b"data: [DONE]\n\n")
    tap.close()
    return passed + tap.release()


class RequestTests(SynchronousTestCase):
    """The provider's requests."""

    def test_message_sent_back(self):
        """The model's message goes back with every field that its provider gave it, and its results follow."""
        dialogue = dialogue_over()
        answer(dialogue, ROUNDS[:1])
        message, result = sent(dialogue)[1:]
        self.assertEqual(message, API.said(ROUNDS[0])[0])
        self.assertEqual(result, {"role": "tool", "tool_call_id": "c1", "content": f"result of {TIDES} c1"})

    def test_lists_of_thoughts(self):
        """Thoughts in lists are put together, whatever cuts them; what is for the client only stays with it."""
        dialogue = dialogue_over()
        details = [[{"text": "a"}], [{"text": "b"}]]
        pieces = [chunk({"role": "assistant", "reasoning_details": one, "annotations": [1]}) for one in details]
        hear(dialogue, *pieces, chunk({"tool_calls": [piece(0, "c1", TIDES)], "odd": {"x": 1}}, "tool_calls"))
        dialogue.add_results(results_of(dialogue.calls))
        message = sent(dialogue)[1]
        self.assertEqual(message["reasoning_details"], [{"text": "a"}, {"text": "b"}])
        self.assertEqual((message["content"], message["odd"]), (None, {"x": 1}))
        self.assertNotIn("annotations", message)

    def test_usage_is_asked_for(self):
        """The gateway asks for the usage that it records, in every round."""
        request = {"model": "m", "stream": True, "messages": QUESTION, "stream_options": {"x": 1}}
        body = CHAT.amend(json.dumps(request).encode(), request)
        dialogue = CHAT_TOOLS.dialogue(body, request, TOOLS, KnownTurns())
        answer(dialogue, ROUNDS[:1])
        self.assertEqual(json.loads(dialogue.request())["stream_options"], {"x": 1, "include_usage": True})

    def test_images_by_their_kind(self):
        """Results are text in this API."""
        dialogue = dialogue_over()
        play(dialogue, API, "chatcmpl_1", [call("c1", TIDES)], True)
        image = {"type": "image", "data": "QUJD", "mime_type": "image/png"}
        dialogue.add_results([ToolResult(dialogue.calls[0], [{"type": "text", "text": "a"}, image])])
        self.assertEqual(sent(dialogue)[-1]["content"], "a\n[image: image/png]")

    def test_where_tools_have_no_place(self):
        """Not beside functions of old, nor where several answers are asked for."""
        for more in ({"functions": [{}]}, {"n": 2}):
            self.assertFalse(CHAT_TOOLS.may_offer({"model": "m", **more}))
        self.assertTrue(CHAT_TOOLS.may_offer({"model": "m", "n": 1, "functions": []}))
        self.assertTrue(CHAT_TOOLS.forbids({"tool_choice": "none"}))
        self.assertFalse(CHAT_TOOLS.forbids({"tool_choice": "auto"}))


class StreamTests(SynchronousTestCase):
    """The chunks that the client gets."""

    def test_calls_in_one_chunk(self):
        """The gateway's call goes, the client's stays, under a number without a gap."""
        dialogue = dialogue_over()
        pieces = [piece(0, "c1", TIDES), piece(1, "o1", OWN, ""), piece(2, "c2", NOW), piece(3, "o2", OWN)]
        more = [{"index": 1, "function": {"arguments": "{}"}}, {"index": 2, "function": {"arguments": ""}}]
        told = hear(
            dialogue,
            chunk({"role": "assistant", "content": None, "tool_calls": pieces}),
            chunk({"tool_calls": more}),
            chunk({}, "tool_calls"),
        )
        first, second, last = events(told)
        made = first["choices"][0]["delta"]["tool_calls"]
        self.assertEqual([(one["index"], one["id"]) for one in made], [(0, "o1"), (1, "o2")])
        self.assertEqual(second["choices"][0]["delta"]["tool_calls"], [{"index": 0, "function": {"arguments": "{}"}}])
        self.assertEqual(last["choices"][0]["finish_reason"], "tool_calls")
        self.assertEqual([one.id for one in dialogue.calls], ["c1", "c2"])
        self.assertFalse(dialogue.continues)

    def test_role_beside_a_hidden_call(self):
        """The first chunk's role reaches the client, though a hidden call stands beside it; the call doesn't."""
        dialogue = dialogue_over()
        told = hear(
            dialogue, chunk({"role": "assistant", "tool_calls": [piece(0, "c1", TIDES)]}), chunk({}, "tool_calls")
        )
        self.assertEqual([event["choices"][0]["delta"] for event in events(told)], [{"role": "assistant"}])
        dialogue.add_results(results_of(dialogue.calls))
        told = hear(dialogue, chunk({"role": "assistant", "content": "A"}), chunk({"role": "assistant"}, "stop"))
        deltas = [event["choices"][0]["delta"] for event in events(told)]
        self.assertEqual(deltas, [{"content": "A"}, {}])

    def test_words_beside_the_end(self):
        """Words in the chunk that ends a hidden round are shown; that it ended isn't."""
        dialogue = dialogue_over()
        told = hear(dialogue, chunk({"content": "Hm.", "tool_calls": [piece(0, "c1", TIDES)]}, "stop"))
        choice = events(told)[0]["choices"][0]
        self.assertEqual(choice, {"index": 0, "delta": {"content": "Hm."}, "finish_reason": None})
        self.assertTrue(dialogue.continues)

    def test_pieces_without_numbers(self):
        """A provider that numbers no calls sends each whole, in its place."""
        dialogue = dialogue_over()
        pieces = [piece(0, "c1", TIDES), piece(1, "o1", OWN)]
        for one in pieces:
            del one["index"]
        told = hear(dialogue, chunk({"tool_calls": pieces}), chunk({}, "tool_calls"))
        self.assertEqual([one["id"] for one in events(told)[0]["choices"][0]["delta"]["tool_calls"]], ["o1"])
        self.assertEqual([one.id for one in dialogue.calls], ["c1"])

    def test_usage_nobody_asked_for(self):
        """The client that didn't ask for usage sees none, in any round."""
        dialogue = dialogue_over(stream_options=None)
        told = answer(dialogue, ROUNDS)
        self.assertNotIn(b"prompt_tokens", told)
        self.assertEqual(told.count(b"[DONE]"), 1)

    def test_custom_tools(self):
        """A client's custom tool of the same name is the client's; it goes back as it came."""
        dialogue = dialogue_over()
        custom = {"index": 0, "id": "x1", "type": "custom", "custom": {"name": TIDES, "input": "a"}}
        hear(
            dialogue,
            chunk({"tool_calls": [custom, piece(1, "c1", TIDES)]}),
            chunk({"tool_calls": [{"index": 0, "custom": {"input": "b"}}]}),
            chunk({}, "tool_calls"),
        )
        dialogue.add_results(results_of(dialogue.calls))
        said = json.loads(dialogue.turn().rounds[0].assistant)[0]["tool_calls"]
        self.assertEqual([one.id for one in dialogue.calls], ["c1"])
        self.assertEqual(said[0]["custom"], {"name": TIDES, "input": "ab"})

    def test_sdk(self):
        """OpenAI's own accumulator takes the merged stream."""
        mixed = [say("And "), call("c2", NOW), call("o1", OWN, "{}"), call("c3", TIDES), call("o2", OWN, "{}")]
        told = answer(dialogue_over(), [*ROUNDS[:1], mixed])
        respond = httpx2.MockTransport(
            lambda request: httpx2.Response(200, content=told, headers={"content-type": "text/event-stream"})
        )
        client = openai.OpenAI(api_key="k", base_url="http://x/v1", http_client=httpx2.Client(transport=respond))
        with client.chat.completions.stream(model="m", messages=QUESTION, **ASKING_USAGE) as stream:
            final = stream.get_final_completion()
        message = final.choices[0].message
        self.assertEqual((final.id, message.role, message.content), ("chatcmpl_0", "assistant", "I look. And "))
        self.assertEqual([one.id for one in message.tool_calls], ["o1", "o2"])
        self.assertEqual(final.choices[0].finish_reason, "tool_calls")
        self.assertEqual(final.usage.prompt_tokens, 20)


class BodyTests(SynchronousTestCase):
    """The whole answer that the client gets."""

    def _hear(self, dialogue, *messages, finish="tool_calls"):
        choices = [{"index": 0, "message": message, "finish_reason": finish} for message in messages]
        tap = BodyTap(dialogue.new_reader(), LIMIT)
        tap.feed(json.dumps({"id": "chatcmpl_1", "choices": choices, "usage": API.usage()}).encode())
        tap.close()
        return tap.release()

    def test_split_choices(self):
        """Some providers put words and calls of one answer into several choices."""
        dialogue = dialogue_over(stream=False)
        words, hidden = {"role": "assistant", "content": "I look. "}, API.said([call("c1", TIDES)])[0]
        mixed = API.said([call("c2", NOW), call("o1", OWN)])[0]
        self.assertEqual(self._hear(dialogue, words, hidden), b"")
        dialogue.add_results(results_of(dialogue.calls))
        self.assertEqual([m["role"] for m in sent(dialogue)], ["user", "assistant", "tool"])
        first, second = json.loads(self._hear(dialogue, {**words, "content": "So. "}, mixed))["choices"]
        self.assertEqual(first["message"]["content"], "I look. So. ")
        self.assertEqual([one["id"] for one in second["message"]["tool_calls"]], ["o1"])

    def test_no_empty_list_of_calls(self):
        """A message whose calls are all hidden has none."""
        dialogue = dialogue_over(stream=False)
        message = API.said([say("Hm"), call("c1", TIDES)])[0]
        told = json.loads(self._hear(dialogue, message, finish="length"))
        self.assertNotIn("tool_calls", told["choices"][0]["message"])


class PastTests(SynchronousTestCase):
    """Hidden rounds are back in their places."""

    def _restored(self, change, rounds=ROUNDS, more=()):
        exchange = Exchange(API, True)
        exchange.turn(QUESTION, rounds)
        messages = [*QUESTION, *map(change, exchange.history[1:]), *more]
        return sent(dialogue_over(messages, exchange.turns)), exchange.seen

    def test_as_parts(self):
        """A client may send its words as a part, with a breakpoint of its cache, which stays."""

        def as_parts(message):
            part = {"type": "text", "text": message["content"], "cache_control": {"type": "ephemeral"}}
            return {"role": "assistant", "content": [part]}

        messages, seen = self._restored(as_parts)
        self.assertEqual(messages[:-1], seen[:-1])
        left = [{"type": "text", "text": "Calm.", "cache_control": {"type": "ephemeral"}}]
        self.assertEqual(messages[-1]["content"], left)

    def test_words_dropped(self):
        """A client that sends no words beside calls is known by these."""
        rounds = [ROUNDS[0], [say("So. "), call("o1", OWN)]]
        messages, seen = self._restored(
            lambda message: {**message, "content": None}, rounds, API.results([{"id": "o1"}])
        )
        self.assertEqual(messages[:3], seen[:3])
        self.assertEqual([m["role"] for m in messages[3:]], ["assistant", "tool"])

    def test_other_words(self):
        """A message with other text than the hidden rounds had stays as it is, even if its calls are known."""
        rounds = [ROUNDS[0], [say("So. "), call("o1", OWN)]]
        messages, _ = self._restored(lambda message: {**message, "content": "Mine."}, rounds)
        self.assertEqual([m["role"] for m in messages], ["user", "assistant"])
        self.assertEqual(messages[1]["content"], "Mine.")

    def test_thoughts_dropped(self):
        """The fields that some clients don't keep are in the hidden rounds again, and the rest stays the client's."""
        messages, seen = self._restored(lambda message: {"role": "assistant", "content": message["content"]})
        self.assertEqual(messages[:-1], seen[:-1])
        self.assertEqual(messages[-1], {"role": "assistant", "content": "Calm."})

    def test_no_words_of_its_own(self):
        """A last round of calls alone has no words left."""
        rounds = [ROUNDS[0], [call("o1", OWN)]]
        messages, seen = self._restored(lambda message: message, rounds, API.results([{"id": "o1"}]))
        self.assertEqual(messages[: len(seen)], seen)
        self.assertIsNone(messages[3]["content"])

    def test_ids_that_begin_anew(self):
        """Providers that count calls from nought in each conversation: another conversation's isn't taken for this."""
        other = Exchange(API, True)
        other.turn(API.user("something else"), [[call("c0", TIDES), call("functions.own:0", OWN)]])
        messages = [*QUESTION, *API.said([call("functions.own:0", OWN)]), *API.results([{"id": "functions.own:0"}])]
        self.assertEqual(sent(dialogue_over(messages, other.turns)), messages)

    def test_same_in_another_conversation(self):
        """Of two conversations with the same last words, the one whose beginning is the same counts."""
        one, two = Exchange(API, True), Exchange(API, True)
        for exchange, name in ((one, "one"), (two, "two")):
            exchange.turn(API.user(f"I am {name}."), [[say("Hello.")]])
            exchange.turn(QUESTION, [[call(f"c_{name}", TIDES)], [say("Calm.")]])
        dialogue = dialogue_over([*one.history, *API.user("more")], [*one.turns, *two.turns])
        self.assertEqual(sent(dialogue)[: len(one.seen)], one.seen)
