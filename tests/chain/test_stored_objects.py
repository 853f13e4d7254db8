"""What a provider stores for the configured credential: each actor reaches only what they have made."""

import gzip
from typing import Any

import orjson
from twisted.web.resource import Resource

from aibridge import Actor
from aibridge.errors import RecordingError
from aibridge.testing import Reply, quiet_site

from .apis import MESSAGES, OWN, RESPONSES, Api
from .client import Answer
from .gateway import PROVIDER_PORT, ChainTestCase

PASSED = {"passthrough": ("/files", "/batches", "/vector_stores")}


class Storage(Resource):
    """A provider that stores whatever it is asked to, and says so of everything."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, str]] = []
        self.results: dict[str, Any] = {}
        """What a batch that is read has besides."""

    def render(self, request: Any) -> bytes:
        self.seen.append((request.method.decode(), request.path.decode()))
        request.setHeader(b"content-type", b"application/json")
        number = len(self.seen)
        made = {"id": f"{request.path.decode().rsplit('/', 1)[-1]}_{number}", "object": "thing"}
        is_batch = request.method == b"GET" and b"/batches/" in request.path
        return orjson.dumps(made | self.results if is_batch else made)


class StoredTestCase(ChainTestCase):
    """Actors who are named by a header."""

    def setUp(self) -> None:
        super().setUp()
        self.serve()

    def serve(self, **openai: Any) -> None:
        self.start(openai=PASSED | openai, authenticate=self.actor)

    def actor(self, request: Any) -> Actor:
        return Actor(request.requestHeaders.getRawHeaders("x-user", ["nobody"])[0])

    def as_actor(self, name: str, method: str, target: str, body: bytes = b"", **headers: str) -> Answer:
        client = self.connect()
        client.send(method, target, body, {"X-User": name, **headers})
        self.network.wait(3)
        return client.answer

    def respond(self, name: str, response_id: str, api: Api = RESPONSES, **members: Any) -> Answer:
        self.provider.say(Reply(text="Fine.", id=response_id))
        return self.answer(api, headers={"X-User": name}, **members)


class ResponseTests(StoredTestCase):
    """Responses that an interception has made."""

    def test_own(self) -> None:
        """Who has made a response can read, cancel and delete it."""
        self.respond("ann", "resp_1")
        for method, target in (("GET", ""), ("DELETE", ""), ("POST", "/cancel"), ("GET", "/input_items")):
            self.as_actor("ann", method, f"/openai/v1/responses/resp_1{target}")
            self.assertEqual(self.provider.requests[-1].uri, f"/v1/responses/resp_1{target}".encode())

    def test_of_others(self) -> None:
        """Everyone else gets 404, and so does everyone for a response that nobody has made here."""
        self.respond("ann", "resp_1")
        before = len(self.provider.requests)
        for name, response_id in (("bob", "resp_1"), ("nobody", "resp_1"), ("ann", "resp_2")):
            for method, target in (("GET", ""), ("DELETE", ""), ("POST", "/cancel"), ("GET", "/input_items")):
                answer = self.as_actor(name, method, f"/openai/v1/responses/{response_id}{target}")
                self.assertEqual((answer.status, RESPONSES.error_of(answer.json)), (404, "invalid_request_error"))
        self.assertEqual(len(self.provider.requests), before)

    def test_spelled_otherwise(self) -> None:
        """No spelling of the path leads around the check."""
        self.respond("ann", "resp_1")
        before = len(self.provider.requests)
        for path in ("responses/resp%5F1", "responses/resp_1/", "%72esponses/resp_1", "responses//resp_1"):
            self.assertEqual(self.as_actor("bob", "GET", f"/openai/v1/{path}").status, 404)
        self.assertEqual(len(self.provider.requests), before)

    def test_continued(self) -> None:
        """Nobody goes on from another actor's response; who made it does."""
        self.respond("ann", "resp_1")
        before = len(self.provider.requests)
        answer = self.answer(RESPONSES, headers={"X-User": "bob"}, previous_response_id="resp_1")
        self.assertEqual((answer.status, RESPONSES.error_of(answer.json)), (404, "invalid_request_error"))
        self.assertEqual(len(self.provider.requests), before)
        self.assertEqual(self.respond("ann", "resp_2", previous_response_id="resp_1").status, 200)

    def test_message_threads(self) -> None:
        """Nor from another actor's message."""
        self.respond("ann", "msg_1", MESSAGES)
        thread = {"type": "continue", "previous_message_id": "msg_1"}
        answer = self.answer(MESSAGES, headers={"X-User": "bob"}, thread=thread)
        self.assertEqual((answer.status, MESSAGES.error_of(answer.json)), (404, "not_found_error"))
        self.assertEqual(self.respond("ann", "msg_2", MESSAGES, thread=thread).status, 200)

    def test_unknown_to_the_records(self) -> None:
        """A request may go on from what no record tells of: whoever knows its id has had it from the provider."""
        self.assertEqual(self.respond("ann", "resp_2", previous_response_id="resp_of_before").status, 200)

    def test_own_credential(self) -> None:
        """With a client's own credential the provider itself knows whose it is."""
        self.respond("ann", "resp_1")
        self.as_actor("bob", "GET", "/openai/v1/responses/resp_1", Authorization=f"Bearer {OWN}")
        self.assertEqual(self.provider.requests[-1].uri, b"/v1/responses/resp_1")

    def test_shared(self) -> None:
        """With `shared_storage` everyone reaches everything."""
        self.serve(shared_storage=True)
        self.respond("ann", "resp_1")
        self.as_actor("bob", "GET", "/openai/v1/responses/resp_1")
        self.assertEqual(self.provider.requests[-1].uri, b"/v1/responses/resp_1")

    def test_one_actor(self) -> None:
        """Without authentication there is one actor, who reaches everything."""
        self.start()
        self.as_actor("ann", "GET", "/openai/v1/responses/resp_9")
        self.assertEqual(self.provider.requests[-1].uri, b"/v1/responses/resp_9")

    def test_actions(self) -> None:
        """A path below the responses that names none is no matter of owners; what its body names is."""
        self.respond("ann", "resp_1")
        path, before = "/openai/v1/responses/input_tokens", len(self.provider.requests)
        body = orjson.dumps({"previous_response_id": "resp_1"})
        packed = {"Content-Encoding": "gzip"}
        self.assertEqual(self.as_actor("bob", "POST", path, body).status, 404)
        self.assertEqual(self.as_actor("bob", "POST", path, gzip.compress(body), **packed).status, 404)
        self.assertEqual(self.as_actor("bob", "POST", path, b"[").status, 400)
        self.assertEqual(len(self.provider.requests), before)
        for name, allowed in (("ann", body), ("bob", b"{}"), ("bob", b"")):
            self.as_actor(name, "POST", path, allowed)
            seen = self.provider.requests[-1]
            self.assertEqual((seen.uri, seen.body), (b"/v1/responses/input_tokens", allowed))


class ObjectTests(StoredTestCase):
    """Objects that are made on passed routes."""

    def setUp(self) -> None:
        super().setUp()
        self.storage = Storage()
        self.network.serve(PROVIDER_PORT, quiet_site(self.storage, self.network))

    def test_made(self) -> None:
        """Who has made a conversation, a file, a batch or a vector store reaches it, and nobody else does."""
        for collection in ("conversations", "files", "batches", "vector_stores"):
            made = self.as_actor("ann", "POST", f"/openai/v1/{collection}", b"{}")
            path = f"/openai/v1/{collection}/{made.json['id']}"
            self.assertEqual(self.as_actor("ann", "GET", path).status, 200)
            before = len(self.storage.seen)
            for method in ("GET", "DELETE", "POST"):
                self.assertEqual(self.as_actor("bob", method, path).status, 404)
                for rest in ("/content", "/files", "/files/file_of_before"):
                    self.assertEqual(self.as_actor("bob", method, path + rest).status, 404)
            self.assertEqual(len(self.storage.seen), before)

    def test_in_bodies(self) -> None:
        """Nobody uses another actor's file or vector store in a request, wherever in its body that stands."""
        mine, other = (self.as_actor(name, "POST", "/openai/v1/files", b"{}").json["id"] for name in ("bob", "ann"))
        store = self.as_actor("ann", "POST", "/openai/v1/vector_stores", b"{}").json["id"]
        self.network.serve(PROVIDER_PORT, quiet_site(self.provider, self.network))
        search = {"tools": [{"type": "file_search", "vector_store_ids": [store]}]}
        for name, status in (("ann", 200), ("bob", 404)):
            self.assertEqual(self.answer(RESPONSES, headers={"X-User": name}, **search).status, status)
        for file, status in ((mine, 200), ("file_of_before", 200), (other, 404)):
            content: Any = [{"type": "input_text", "text": 'no "file_id"'}, {"type": "input_file", "file_id": file}]
            tools: Any = [{"type": "code_interpreter", "container": {"type": "auto", "file_ids": [mine, file]}}]
            large = {"tools": tools, "instructions": "x" * 5000}
            for members in ({"input": [{"role": "user", "content": content}]}, {"tools": tools}, large):
                answer = self.answer(RESPONSES, headers={"X-User": "bob"}, **members)
                self.assertEqual(answer.status, status)
        hidden = b'{"model": "m", "input": [{"type": "input_file", "file\\u005Fid": "%b"}]}' % other.encode()
        self.assertEqual(self.as_actor("bob", "POST", RESPONSES.path, hidden).status, 404)

    def test_in_bodies_of_passed_routes(self) -> None:
        """Passed requests can't use another actor's file either, packed or not, whatever media type they name."""
        made = self.as_actor("ann", "POST", "/openai/v1/files", b"{}").json["id"]
        body = orjson.dumps({"input_file_id": made})
        of_json, before = {"Content-Type": "application/json"}, len(self.storage.seen)
        packed = {**of_json, "Content-Encoding": "gzip"}
        for sent, fields in ((body, of_json), (gzip.compress(body), packed), (body, {"Content-Type": "text/plain"})):
            self.assertEqual(self.as_actor("bob", "POST", "/openai/v1/batches", sent, **fields).status, 404)
        self.assertEqual(len(self.storage.seen), before)
        self.assertEqual(self.as_actor("ann", "POST", "/openai/v1/batches", body, **of_json).status, 200)
        self.assertEqual(self.as_actor("bob", "POST", "/openai/v1/batches", b"[file_id", **of_json).status, 200)

    def test_lists(self) -> None:
        """Lists would show what others have made."""
        answer = self.as_actor("ann", "GET", "/openai/v1/files")
        self.assertEqual((answer.status, self.storage.seen), (404, []))
        self.assertIn("Lists of files are not available here", answer.json["error"]["message"])

    def test_recorded_first(self) -> None:
        """The client gets no id whose owner is not recorded."""
        self.recorder.fail_with(RecordingError("away"))
        client = self.connect()
        client.send("POST", "/openai/v1/files", b"{}", {"X-User": "ann"})
        self.network.wait(3)
        self.assertFalse(client.answers and client.answer.whole and b"files_1" in client.answer.body)

    def test_results_of_a_batch(self) -> None:
        """Who has read their batch can fetch the files that the provider made for it; nobody else can."""
        batch = self.as_actor("ann", "POST", "/openai/v1/batches", b"{}").json["id"]
        paths = [f"/openai/v1/files/{name}/content" for name in ("file_out", "file_err")]
        self.as_actor("ann", "GET", f"/openai/v1/batches/{batch}")
        self.storage.results = {"output_file_id": "file_out", "error_file_id": "file_err"}
        self.assertEqual(self.as_actor("bob", "GET", f"/openai/v1/batches/{batch}").status, 404)
        self.assertEqual([self.as_actor("ann", "GET", path).status for path in paths], [404, 404])
        for _ in range(2):
            self.assertEqual(self.as_actor("ann", "GET", f"/openai/v1/batches/{batch}").status, 200)
        self.assertEqual([self.as_actor("ann", "GET", path).status for path in paths], [200, 200])
        self.assertEqual([self.as_actor("bob", "GET", path).status for path in paths], [404, 404])
        recorded = sorted(each.object_id for each in self.recorder.objects.values())
        self.assertEqual(recorded, sorted([batch, "file_out", "file_err"]))

    def test_results_are_recorded_first(self) -> None:
        """A batch whose results can't be recorded is not handed over; once they can, its owner fetches them."""
        batch = self.as_actor("ann", "POST", "/openai/v1/batches", b"{}").json["id"]
        self.storage.results = {"output_file_id": "file_out", "error_file_id": None}
        self.recorder.fail_with(RecordingError("away"))
        self.assertEqual(self.as_actor("ann", "GET", f"/openai/v1/batches/{batch}").status, 503)
        self.recorder.fail_with(None)
        self.as_actor("ann", "GET", f"/openai/v1/batches/{batch}")
        self.assertEqual([each.object_id for each in self.recorder.objects.values()], [batch, "file_out"])

    def test_results_that_are_owned(self) -> None:
        """A batch gives nobody a file that another actor has made."""
        made = self.as_actor("bob", "POST", "/openai/v1/files", b"{}").json["id"]
        batch = self.as_actor("ann", "POST", "/openai/v1/batches", b"{}").json["id"]
        self.storage.results = {"output_file_id": made}
        self.as_actor("ann", "GET", f"/openai/v1/batches/{batch}")
        self.assertEqual(self.as_actor("ann", "GET", f"/openai/v1/files/{made}").status, 404)

    def test_in_conversation(self) -> None:
        """A request to a model can't use another actor's conversation."""
        made = self.as_actor("ann", "POST", "/openai/v1/conversations", b"{}").json["id"]
        for conversation in (made, {"id": made}):
            answer = self.answer(RESPONSES, headers={"X-User": "bob"}, conversation=conversation)
            self.assertEqual(answer.status, 404)
