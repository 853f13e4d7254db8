"""A gateway in memory, before a scripted cloud."""

import os
from typing import Any

from twisted.internet.defer import maybeDeferred

from aibridge import RequestBridge
from aibridge.clouds import lookup
from aibridge.http.server import GatewaySite
from aibridge.providers.base import Provider
from aibridge.testing import quiet_site

from ..chain.apis import MESSAGES, Api, Json
from ..chain.client import Answer
from ..chain.gateway import GATEWAY_PORT, PROVIDER_PORT, ChainTestCase
from .scripted import KEYS, ScriptedCloud

MODEL = "claude-sonnet-4-5-20250929"
CLOUD_PORT = PROVIDER_PORT + 100
UPSTREAM = f"http://192.0.2.9:{CLOUD_PORT}"
DUMMY = [("Authorization", "Bearer sk-dummy"), ("x-api-key", "sk-dummy"), ("anthropic-version", "2023-06-01")]


class CloudTestCase(ChainTestCase):
    """A gateway whose only provider is a cloud. Look-ups of credentials run at once, and not in a thread."""

    def setUp(self) -> None:
        super().setUp()
        self.patch(lookup, "in_thread", lambda reactor, call: maybeDeferred(call))
        environ = {"AWS_ACCESS_KEY_ID": KEYS.access_key, "AWS_SECRET_ACCESS_KEY": KEYS.secret_key}
        self.patch(os, "environ", {"HOME": "/nonexistent", "AWS_EC2_METADATA_DISABLED": "true", **environ})

    def serve(self, cloud: ScriptedCloud, provider: Provider, **settings: Any) -> None:
        """Start a gateway before this cloud."""
        self.cloud = cloud
        self.network.serve(CLOUD_PORT, quiet_site(cloud, self.network))
        self.bridge = RequestBridge([provider], self.recorder, **settings, reactor=self.network)
        self.site = GatewaySite(self.bridge, **self.limits, reactor=self.network)
        self.started.append((self.bridge, self.site))
        self.network.serve(GATEWAY_PORT, self.site)
        self.name = provider.name

    def say(self, api: Api = MESSAGES, *, path: str = "", headers: Any = (), **members: Any) -> Answer:
        """The answer to a request in an API, as a client with a made-up key sends it."""
        client = self.connect()
        target = path or f"/{self.name}{api.upstream_path}"
        body = api.body("ping", **{"model": MODEL, **members})
        client.send("POST", target, body, {"Content-Type": "application/json", **dict(DUMMY), **dict(headers)})
        self.network.wait(3)
        return client.answer

    def error(self, answer: Answer) -> tuple[int, str, str]:
        """Status, type and message of an error in Anthropic's shape."""
        document: Json = answer.json
        self.assertEqual(document["type"], "error")
        return answer.status, document["error"]["type"], document["error"]["message"]

    def metric(self, name: str, **labels: str) -> Any:
        """The value of a metric."""
        return self.bridge.metrics.registry.get_sample_value(name, labels)
