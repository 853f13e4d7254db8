"""Rounds of the Responses API."""

import json

import httpx2
import openai
from twisted.trial.unittest import SynchronousTestCase

from aibridge.wire.history import KnownTurns
from aibridge.wire.responses.rounds import RESPONSES_TOOLS
from aibridge.wire.sse import make_frame
from aibridge.wire.tap import BodyTap, StreamTap
from aibridge.wire.tool_calls import ToolResult

from ..dialogues import LIMIT, TOOLS, Exchange, ResponsesApi, call, events, play, results_of, say, think
from ..streams import frames
from .test_reader import rotate_ids, without_item_ids

API = ResponsesApi()
TIDES, NOW, OWN = "bmcp_sky_tides", "bmcp_sky_now", "own_tool"
QUESTION = API.user("tides?")
ROUNDS = [[think("t1"), say("I look. "), call("c1", TIDES)], [think("t2"), say("Calm.")]]


def dialogue_over(request, turns=()):
    return RESPONSES_TOOLS.dialogue(json.dumps(request).encode(), request, TOOLS, KnownTurns(turns))


def sent(dialogue):
    return json.loads(dialogue.request())


def answer(dialogue, rounds, streaming=True):
    """All rounds; what the client gets."""
    told = b""
    for number, parts in enumerate(rounds):
        told += play(dialogue, API, f"resp_{number}", parts, streaming)
        if dialogue.calls:
            dialogue.add_results(results_of(dialogue.calls))
    return told


def hear(dialogue, items, **more):
    """A whole answer of these items, and what the client gets of it."""
    tap = BodyTap(dialogue.new_reader(), LIMIT)
    tap.feed(json.dumps({"id": "resp_1", "status": "completed", "output": items, **more}).encode())
    tap.close()
    return tap.release()


class OddIdTests(SynchronousTestCase):
    """Streams whose events have other ids for one item, or no ids, or no indexes, in both situations."""

    def _changed(self, told, ids, indexes):
        made = events(told)
        if ids == "rotate":
            made = rotate_ids(made)
        elif ids == "none":
            made = without_item_ids(made)
        if not indexes:
            made = [{key: value for key, value in event.items() if key != "output_index"} for event in made]
        return b"".join(make_frame(json.dumps(event).encode(), event["type"].encode()) for event in made)

    def test_injected(self):
        """The gateway's calls are run once and hidden, and the client's calls and text pass."""
        for ids in ("same", "rotate", "none"):
            for indexes in (True, False):
                parts = [think("t1"), call("c1", TIDES), say("I look."), call("c2", NOW)]
                dialogue = dialogue_over({"model": "m", "stream": True, "input": QUESTION})
                told = b""
                for number, said in enumerate((parts, [call("c3", TIDES), call("o1", OWN), say("Calm.")])):
                    stream = self._changed(API.stream(f"resp_{number}", said), ids, indexes)
                    tap = StreamTap(dialogue.new_reader(), LIMIT)
                    told += tap.feed(stream)
                    tap.close()
                    told += tap.release()
                    run = [one.id for one in dialogue.calls]
                    self.assertEqual(run, [["c1", "c2"], ["c3"]][number], (ids, indexes))
                    self.assertEqual(len(tap.answer.tool_calls), 2)
                    dialogue.add_results(results_of(dialogue.calls))
                for hidden in (b"bmcp_sky_tides", b"bmcp_sky_now", b'"c1"', b'"c2"', b'"c3"'):
                    self.assertNotIn(hidden, told, (ids, indexes))
                seen = [event["item"]["type"] for event in events(told) if event["type"].endswith("item.done")]
                self.assertEqual(seen, ["reasoning", "message", "function_call", "message"], (ids, indexes))
                arguments = [event for event in events(told) if event["type"].endswith("arguments.done")]
                self.assertEqual(len(arguments), 1, (ids, indexes))


class RequestTests(SynchronousTestCase):
    """The provider's requests."""

    def test_tools(self):
        """A tool's schema goes as it is: strict would make every argument a required one."""
        tool = sent(dialogue_over({"model": "m", "input": "hi"}))["tools"][0]
        self.assertEqual(tool["type"], "function")
        self.assertEqual(tool["parameters"], TOOLS[0].schema)
        self.assertIs(tool["strict"], False)

    def test_other_bytes_stay(self):
        """Whatever else is in the body keeps its bytes, through all rounds."""
        odd = b'{ "model":"m","input" : "h\\u00e9","temperature":1.0, "seed":123456789012345678901234,"x":1,"x":2}'
        dialogue = RESPONSES_TOOLS.dialogue(odd, json.loads(odd), (), KnownTurns())
        self.assertEqual(dialogue.request(), odd)
        dialogue = RESPONSES_TOOLS.dialogue(odd, json.loads(odd), TOOLS, KnownTurns())
        answer(dialogue, ROUNDS[:1], streaming=False)
        rest = b',"temperature":1.0, "seed":123456789012345678901234,"x":1,"x":2,"tools":['
        self.assertIn(rest, dialogue.request())
        self.assertTrue(
            dialogue.request().startswith(b'{ "model":"m","input" : [{"role":"user","content":"h\\u00e9"},')
        )

    def test_items_as_they_came(self):
        """The model's items are sent back byte for byte, with encrypted reasoning and ids."""
        dialogue = dialogue_over({"model": "m", "input": QUESTION, "include": ["reasoning.encrypted_content"]})
        item = b'{"id":"rs_1", "type":"reasoning","summary":[],"encrypted_content":"gAA\\u0041","n":1.0}'
        whole = b'{"id":"resp_1","status":"completed","output":[%b, %b]}' % (
            item,
            json.dumps(API.item(call("c1", TIDES))).encode(),
        )
        reader = dialogue.new_reader()
        reader.read_body(json.loads(whole), whole)
        dialogue.add_results(results_of(dialogue.calls))
        self.assertIn(item, dialogue.request())
        self.assertEqual(sent(dialogue)["include"], ["reasoning.encrypted_content"])

    def test_thoughts_that_nobody_kept(self):
        """If the provider stores nothing, reasoning without its encrypted content isn't sent back: the provider could not find it."""
        for store, kept in ((False, 0), (True, 1), (None, 1)):
            dialogue = dialogue_over({"model": "m", "input": "hi", "store": store})
            hear(dialogue, [{"id": "rs_1", "type": "reasoning", "summary": []}, API.item(call("c1", TIDES))])
            dialogue.add_results(results_of(dialogue.calls))
            self.assertEqual(dialogue.request().count(b"rs_1"), kept)

    def test_ids_beside_thoughts_that_nobody_kept(self):
        """Calls and messages then go back without their ids, by which the provider would miss the reasoning."""
        items = [
            {"id": "rs_1", "type": "reasoning", "summary": []},
            API.item(say("Wait.")) | {"id": "msg_1", "status": "completed", "phase": "commentary"},
            API.item(call("c1", TIDES)) | {"id": "fc_1"},
            {"id": "ws_1", "type": "web_search_call", "status": "completed"},
        ]
        for request, response, kept in (
            ({"store": False}, {}, False),
            ({}, {"store": False}, False),  # as OpenAI answers organizations with zero data retention
            ({}, {"store": True}, True),
        ):
            dialogue = dialogue_over({"model": "m", "input": "hi", **request})
            reader = dialogue.new_reader()
            body = {"id": "resp_1", "status": "completed", "output": items, **response}
            reader.read_body(body, json.dumps(body).encode())
            dialogue.add_results(results_of(dialogue.calls))
            back = sent(dialogue)["input"][1:-1]
            self.assertEqual(
                [item.get("id") for item in back], ["rs_1", "msg_1", "fc_1", "ws_1"] if kept else [None, None, "ws_1"]
            )
            self.assertEqual(back[-2]["call_id"], "c1")
            self.assertEqual([item["phase"] for item in back if item["type"] == "message"], ["commentary"])

    def test_ids_in_later_turns(self):
        """What the client sends back of such an answer goes on without that reasoning and those ids too."""
        first = [{"id": "rs_1", "type": "reasoning", "summary": []}, API.item(call("c1", TIDES)) | {"id": "fc_1"}]
        last = [
            {"id": "rs_2", "type": "reasoning", "summary": []},
            API.item(say("High.")) | {"id": "msg_2", "status": "completed"},
        ]
        request = {"model": "m", "input": QUESTION, "store": False}
        dialogue = dialogue_over(request)
        for number, items in enumerate((first, last)):
            body = {"id": f"resp_{number}", "status": "completed", "output": items}
            dialogue.new_reader().read_body(body, json.dumps(body).encode())
            if dialogue.calls:
                dialogue.add_results(results_of(dialogue.calls))
        question = {"role": "user", "content": "and?"}
        for back in ([first[0], *last], last, last[1:]):
            later = {**request, "input": [*QUESTION, *back, question]}
            restored = sent(dialogue_over(later, [dialogue.turn()]))["input"]
            self.assertEqual(
                [item.get("type") for item in restored[1:]], ["function_call", "function_call_output", "message", None]
            )
            self.assertEqual([item.get("id") for item in restored], [None] * 5)
            self.assertEqual(restored[3]["content"], last[1]["content"])

    def test_ids_beside_encrypted_thoughts(self):
        """With its encrypted content all goes back as it came."""
        items = [
            {"id": "rs_1", "type": "reasoning", "summary": [], "encrypted_content": "gAA"},
            API.item(call("c1", TIDES)) | {"id": "fc_1"},
        ]
        dialogue = dialogue_over({"model": "m", "input": "hi", "store": False})
        hear(dialogue, items)
        dialogue.add_results(results_of(dialogue.calls))
        self.assertEqual(sent(dialogue)["input"][1:-1], items)

    def test_images(self):
        """Results with images are lists of parts; others are text."""
        dialogue = dialogue_over({"model": "m", "input": "hi"})
        hear(dialogue, [API.item(call("c1", TIDES)), API.item(call("c2", NOW))])
        one, two = dialogue.calls
        image = {"type": "image", "data": "QUJD", "mime_type": "image/png"}
        words = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
        dialogue.add_results([ToolResult(one, [words[0], image]), ToolResult(two, words)])
        first, second = sent(dialogue)["input"][-2:]
        url = "data:image/png;base64,QUJD"
        self.assertEqual(
            first["output"], [{"type": "input_text", "text": "a"}, {"type": "input_image", "image_url": url}]
        )
        self.assertEqual(second["output"], "a\nb")

    def test_conversation(self):
        """A conversation that the provider keeps knows all but the results."""
        dialogue = dialogue_over({"model": "m", "input": QUESTION, "conversation": {"id": "conv_1"}})
        answer(dialogue, ROUNDS[:1])
        self.assertEqual([item["type"] for item in sent(dialogue)["input"]], ["function_call_output"])
        later = {"model": "m", "input": "more", "conversation": "conv_1"}
        self.assertTrue(set(RESPONSES_TOOLS.anchors(later)) & set(dialogue.turn().anchors))

    def test_where_tools_have_no_place(self):
        """Not in the background, where nobody waits; and none may be called where the client says so."""
        self.assertFalse(RESPONSES_TOOLS.may_offer({"model": "m", "background": True}))
        self.assertTrue(RESPONSES_TOOLS.forbids({"tool_choice": "none"}))
        self.assertFalse(RESPONSES_TOOLS.forbids({"tool_choice": {"type": "function", "name": "none"}}))
        self.assertFalse(RESPONSES_TOOLS.bound({"input": API.said([think("t")])}))


class AnswerTests(SynchronousTestCase):
    """The client's answer."""

    def test_own_bytes_until_something_is_hidden(self):
        """Frames pass as they came until one is hidden; deltas are not even read."""
        dialogue = dialogue_over({"model": "m", "input": "hi"})
        reader = dialogue.new_reader()
        stream = API.stream("resp_1", ROUNDS[0])
        tap = StreamTap(reader, LIMIT)
        told = tap.feed(stream)
        self.assertTrue(stream.startswith(told))
        deltas = [frame for frame in frames(stream) if b".delta" in frame]
        self.assertFalse(any(map(reader.skips, deltas)))
        fresh = dialogue_over({"model": "m", "input": "hi"}).new_reader()
        self.assertTrue(all(map(fresh.skips, deltas)))

    def test_echo_of_tools(self):
        """The echo of the request in the answer keeps the provider's bytes."""
        dialogue = dialogue_over({"model": "m", "input": "hi"})
        echo = b'"tools":[{"type":"function",  "name":"bmcp_sky_tides"}]'
        whole = json.dumps({"id": "resp_1", "output": [API.item(call("c1", TIDES)), API.item(call("o1", OWN))]})
        whole = whole.encode().replace(b'{"id"', b"{" + echo + b', "id"', 1)
        verdict = dialogue.new_reader().read_body(json.loads(whole), whole)
        self.assertTrue(verdict.data.startswith(b"{" + echo + b', "id": "resp_1"'))

    def test_incomplete_later_round(self):
        """However the last round ends, its last event carries all that the client got, and all usage."""
        for finish in ("incomplete", "failed"):
            dialogue = dialogue_over({"model": "m", "input": "hi"})
            told = answer(dialogue, ROUNDS[:1])
            told += play(dialogue, API, "resp_9", [say("Cal")], True, finish)
            whole = API.collect(told)
            self.assertEqual((whole["status"], whole["id"]), (finish, "resp_0"))
            self.assertEqual([item["type"] for item in whole["output"]], ["reasoning", "message", "message"])
            self.assertEqual(whole["usage"], API.total(2))

    def test_output_missing_in_the_end(self):
        """Some providers leave the last event's output empty: then what was streamed counts."""
        dialogue = dialogue_over({"model": "m", "input": "hi"})
        told = b""
        for number, parts in enumerate(ROUNDS):
            *head, last = frames(API.stream(f"resp_{number}", parts))
            event = events(last)[0]
            event["response"]["output"] = []
            tap = StreamTap(dialogue.new_reader(), LIMIT)
            told += tap.feed(b"".join(head) + make_frame(json.dumps(event).encode(), b"response.completed"))
            told += tap.release()
            dialogue.add_results(results_of(dialogue.calls))
        self.assertEqual(len(API.collect(told)["output"]), 4)

    def test_known_by_name_and_namespace(self):
        """A tool of another namespace is the client's, whatever its name."""
        dialogue = dialogue_over({"model": "m", "input": "hi"})
        item = {**API.item(call("c1", TIDES)), "namespace": "mcp__sky"}
        self.assertIn(TIDES.encode(), hear(dialogue, [item]))
        self.assertEqual(list(dialogue.calls), [])
        custom = {"type": "custom_tool_call", "call_id": "c1", "name": TIDES, "input": "x"}
        self.assertIn(TIDES.encode(), hear(dialogue, [custom]))

    def test_who_must_answer(self):
        """The provider's own calls don't end the answer; those that only the client can answer do."""
        call_ = API.item(call("c1", TIDES))
        shell = {"type": "shell_call", "id": "sh_1", "call_id": "s1"}
        goes_on = {
            True: [
                [{"type": "web_search_call", "id": "ws_1"}],
                [{"type": "mcp_call", "id": "mcp_1", "name": TIDES}],
                [shell, {"type": "shell_call_output", "call_id": "s1"}],
            ],
            False: [
                [shell],
                [{"type": "custom_tool_call", "call_id": "x", "name": "patch", "input": ""}],
                [{"type": "mcp_approval_request", "id": "mcpr_1"}],
            ],
        }
        for expected, all_items in goes_on.items():
            for items in all_items:
                dialogue = dialogue_over({"model": "m", "input": "hi"})
                hear(dialogue, [*items, call_])
                self.assertEqual(dialogue.continues, expected, items)
                self.assertEqual([one.id for one in dialogue.calls], ["c1"])

    def test_error_object(self):
        """An error instead of an answer passes as it came."""
        dialogue = dialogue_over({"model": "m", "input": "hi"})
        body = b'{"error": {"code":"rate_limit_exceeded", "message":"no"}}'
        reader = dialogue.new_reader()
        self.assertIsNone(reader.read_body(json.loads(body), body).data)
        self.assertEqual(reader.answer.error, "rate_limit_exceeded")

    def test_sdk(self):
        """OpenAI's own accumulator takes the merged stream, mixed calls and all."""
        dialogue = dialogue_over({"model": "m", "input": "hi"})
        mixed = [say("And "), call("c2", NOW), call("o1", OWN, "{}"), call("c3", TIDES), call("o2", OWN, "{}")]
        told = answer(dialogue, [*ROUNDS[:1], mixed])
        respond = httpx2.MockTransport(
            lambda request: httpx2.Response(200, content=told, headers={"content-type": "text/event-stream"})
        )
        client = openai.OpenAI(api_key="k", base_url="http://x/v1", http_client=httpx2.Client(transport=respond))
        with client.responses.stream(model="m", input="hi") as stream:
            final = stream.get_final_response()
        self.assertEqual(final.id, "resp_0")
        kinds = [item.type for item in final.output]
        self.assertEqual(kinds, ["reasoning", "message", "message", "function_call", "function_call"])
        self.assertEqual(final.output_text, "I look. And ")
        self.assertEqual(final.usage.input_tokens, 20)


class PastTests(SynchronousTestCase):
    """Hidden rounds are back in their places, however the client changed the items."""

    def _check(self, change):
        """Return the items behind the hidden round, after a check that it is whole although the client changed the items."""
        exchange = Exchange(API, True)
        exchange.turn(QUESTION, ROUNDS)
        kept = [item for item in map(change, exchange.history[1:]) if item]
        request = {"model": "m", "input": [*QUESTION, *kept, *API.user("more")]}
        items = sent(dialogue_over(request, exchange.turns))["input"]
        behind = len(QUESTION) + len(ROUNDS[0]) + 1
        self.assertEqual(items[:behind], exchange.seen[:behind])
        return items[behind:]

    def test_without_ids_and_types(self):
        """Clients that send roles and words only."""

        def bare(item):
            if item["type"] == "message":
                return {"role": "assistant", "content": item["content"]}
            return None if item["type"] == "reasoning" else item

        rest = self._check(bare)
        self.assertEqual([item.get("role") for item in rest], ["assistant", "user"])

    def test_thoughts_without_ids(self):
        """Thoughts by what is sealed in them, or by their summary."""
        for gone in (("id",), ("id", "encrypted_content"), ("encrypted_content",)):
            self._check(lambda item, gone=gone: {key: item[key] for key in item if key not in gone})

    def test_only_the_last_words(self):
        """A client that dropped all of the hidden rounds still gets them back."""
        rest = self._check(lambda item: item if "Calm" in json.dumps(item) else None)
        self.assertEqual([item["role"] for item in rest], ["assistant", "user"])

    def test_ids_of_their_own(self):
        """Ids that the client made up say nothing, but the rest does."""
        self._check(lambda item: {**item, "id": f"mine_{item['id'][-2:]}"})

    def test_references(self):
        """Items that the provider keeps may come as references."""
        rest = self._check(lambda item: {"type": "item_reference", "id": item["id"]})
        self.assertEqual([item["type"] for item in rest[:2]], ["item_reference", "item_reference"])

    def test_outputs_between_calls(self):
        """If the client sends each call followed by its output, the hidden call and its output stand before them."""
        exchange = Exchange(API, True)
        exchange.turn(QUESTION, [[call("o1", OWN), call("c1", TIDES), call("o2", OWN)]])
        one, two = exchange.history[1:]
        outputs = API.results([{"id": "o1"}, {"id": "o2"}])
        request = {"model": "m", "input": [*QUESTION, one, outputs[0], two, outputs[1]]}
        items = sent(dialogue_over(request, exchange.turns))["input"]
        self.assertEqual([item.get("call_id") for item in items[1:]], ["o1", "c1", "o2", "c1", "o1", "o2"])

    def test_previous_response(self):
        """The id of a merged stream stands for all of it, and the answer says the client's id again."""
        exchange = Exchange(API, True)
        whole = exchange.turn(QUESTION, ROUNDS)
        request = {"model": "m", "input": "more", "previous_response_id": whole["id"]}
        self.assertTrue(set(RESPONSES_TOOLS.anchors(request)) & set(exchange.turns[0].anchors))
        dialogue = dialogue_over(request, exchange.turns)
        self.assertEqual(sent(dialogue)["previous_response_id"], exchange.turns[0].provider_id)
        told = hear(dialogue, [], previous_response_id=exchange.turns[0].provider_id)
        self.assertEqual(json.loads(told)["previous_response_id"], whole["id"])
        self.assertEqual(sent(dialogue_over(request))["previous_response_id"], whole["id"])

    def test_previous_response_that_waits(self):
        """Results that wait for the client's stand before them, where the calls are at the provider only."""
        exchange = Exchange(API, True)
        whole = exchange.turn(QUESTION, [[call("c1", TIDES), call("o1", OWN)]])
        outputs = API.results([{"id": "o1"}])
        for more in ({"previous_response_id": whole["id"]}, {"conversation": "conv_1"}):
            dialogue = dialogue_over({"model": "m", "input": outputs, **more}, exchange.turns)
            self.assertEqual([item["call_id"] for item in sent(dialogue)["input"]], ["c1", "o1"])

    def test_developer_messages_between(self):
        """A client's additions around the user's words are not part of the context."""
        exchange = Exchange(API, False)
        exchange.turn([{"role": "developer", "content": "be kind"}, *QUESTION], ROUNDS)
        exchange.history[0] = {"role": "system", "content": "be brief"}
        bare = [{"role": "assistant", "content": "Calm."}]
        request = {"model": "m", "input": [exchange.history[0], *QUESTION, *bare]}
        self.assertEqual(len(sent(dialogue_over(request, exchange.turns))["input"]), 2 + 4 + 1)
