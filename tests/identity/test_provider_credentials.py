"""The credential that reaches the provider, and the part of it that is recorded."""

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http_headers import Headers

from aibridge.errors import CredentialRefused, MissingCredential
from aibridge.http.headers import RawHeaders
from aibridge.identity.credentials import hint
from aibridge.interfaces import Actor
from aibridge.providers.anthropic import AnthropicProvider
from aibridge.providers.openai import OpenAIProvider
from aibridge.record.records import BYOK, CENTRALIZED

CONFIGURED = "sk-configured-secret-xy"
OWN = b"sk-ant-own-secret-zw"
ANTHROPIC = AnthropicProvider(api_key=CONFIGURED)
OPENAI = OpenAIProvider(api_key=CONFIGURED)
NAMES = (b"x-api-key", b"authorization", b"api-key")


def sent_by(provider, **named):
    """The credential chosen for a client that sends these, and what of it the provider gets."""
    client = Headers(
        {name.replace("_", "-"): value if isinstance(value, list) else [value] for name, value in named.items()}
    )
    credential = provider.credential(RawHeaders.of(client))
    headers = RawHeaders()
    provider.add_headers(headers, credential, Actor("alice"))
    return credential, {name: headers.getRawHeaders(name) for name in NAMES if headers.hasHeader(name)}


class OwnTests(SynchronousTestCase):
    """The client's own credential, if it sends one."""

    def test_in_its_header(self):
        """Either provider gets it in the header that it came in, and does not get the configured one."""
        for provider in (ANTHROPIC, OPENAI, AnthropicProvider(), OpenAIProvider()):
            for name, value in (
                (b"x-api-key", OWN),
                (b"authorization", b"Bearer " + OWN),
                (b"authorization", b"bearer  " + OWN),
                (b"api-key", OWN),
            ):
                credential, got = sent_by(provider, **{name.decode(): value})
                self.assertEqual((credential.kind, got), (BYOK, {name: [value]}))
                self.assertEqual(credential.hint, "sk-a...zw")

    def test_both(self):
        """If a client sends both, both are sent on; the hint is the API key's."""
        credential, got = sent_by(ANTHROPIC, x_api_key=OWN, Authorization=b"Bearer another-secret-entirely")
        self.assertEqual(got, {b"x-api-key": [OWN], b"authorization": [b"Bearer another-secret-entirely"]})
        self.assertEqual(credential.hint, "sk-a...zw")

    def test_api_key_travels_alone(self):
        """Azure's header counts only if neither of the other two holds a credential."""
        for other in ({"x_api_key": b"another-secret-entirely"}, {"Authorization": b"Bearer another-secret-entirely"}):
            _, got = sent_by(OPENAI, api_key=OWN, **other)
            self.assertEqual([*got], [next(iter(other)).lower().replace("_", "-").encode()])
        _, got = sent_by(OPENAI, api_key=OWN, x_api_key=b"", Authorization=b"Bearer aib_" + b"k" * 43)
        self.assertEqual(got, {b"api-key": [OWN]})

    def test_empty(self):
        """A header without a credential in it is none."""
        for value in (b"", b" ", b"Bearer", b"Bearer ", b"bearer \t", b"Basic "):
            for name in NAMES:
                credential, got = sent_by(OPENAI, **{name.decode(): value})
                self.assertEqual(credential.kind, CENTRALIZED)
                self.assertEqual(got, {b"authorization": [f"Bearer {CONFIGURED}".encode()]})

    def test_empty_beside_full(self):
        """Of several values the first that holds something counts."""
        _, got = sent_by(OPENAI, Authorization=[b"Bearer ", b"Bearer " + OWN])
        self.assertEqual(got, {b"authorization": [b"Bearer " + OWN]})
        _, got = sent_by(OPENAI, x_api_key=b"", Authorization=b"Bearer " + OWN)
        self.assertEqual(got, {b"authorization": [b"Bearer " + OWN]})


class ConfiguredTests(SynchronousTestCase):
    """The configured credential, if the client sends none."""

    def test_in_the_usual_header(self):
        """Each provider gets it in its API's header."""
        credential, got = sent_by(ANTHROPIC)
        self.assertEqual((credential.kind, got), (CENTRALIZED, {b"x-api-key": [CONFIGURED.encode()]}))
        credential, got = sent_by(OPENAI)
        self.assertEqual((credential.kind, got), (CENTRALIZED, {b"authorization": [b"Bearer " + CONFIGURED.encode()]}))
        self.assertEqual(credential.hint, "sk-c...xy")

    def test_missing(self):
        """With neither the client is told which setting there is."""
        for provider in (AnthropicProvider(name="one"), OpenAIProvider(name="one")):
            error = self.assertRaises(MissingCredential, provider.credential, RawHeaders())
            self.assertEqual(error.status, 401)
            self.assertIn("providers.one.api_key", error.message)

    def test_never_shown(self):
        """No credential is in what is printed of a provider or a credential."""
        shown = repr(
            (
                ANTHROPIC,
                OPENAI,
                ANTHROPIC.credential(RawHeaders([(b"x-api-key", OWN)])),
                OPENAI.credential(RawHeaders()),
            )
        )
        self.assertNotIn("secret", shown)


class PolicyTests(SynchronousTestCase):
    """The provider's setting for clients' own credentials."""

    def test_ignore(self):
        """Whatever the client sends is dropped, and the configured credential is used."""
        for provider, usual in (
            (AnthropicProvider(api_key=CONFIGURED, byok="ignore"), {b"x-api-key": [CONFIGURED.encode()]}),
            (OpenAIProvider(api_key=CONFIGURED, byok="ignore"), {b"authorization": [f"Bearer {CONFIGURED}".encode()]}),
        ):
            for name in NAMES:
                credential, got = sent_by(provider, **{name.decode(): b"Bearer sk-dummy"})
                self.assertEqual((credential.kind, credential.hint, got), (CENTRALIZED, "sk-c...xy", usual))

    def test_ignore_without_configured(self):
        """Without a configured key the error doesn't advise to send one's own."""
        provider = OpenAIProvider(byok="ignore")
        error = self.assertRaises(MissingCredential, sent_by, provider, Authorization=b"Bearer " + OWN)
        self.assertEqual(error.message, "No openai key: the request has none. Set providers.openai.api_key.")

    def test_refuse(self):
        """An own credential is refused with 401; a request without one gets the configured credential."""
        provider = OpenAIProvider(api_key=CONFIGURED, byok="refuse")
        for name in NAMES:
            error = self.assertRaises(CredentialRefused, sent_by, provider, **{name.decode(): OWN})
            self.assertEqual((error.status, error.is_final), (401, True))
            self.assertTrue(error.message.startswith("Your own openai key is not accepted here."))
            self.assertNotIn("own-secret", error.message)
        for sent in ({}, {"x_api_key": b" "}, {"Authorization": b"Bearer aib_" + b"k" * 43}):
            self.assertEqual(sent_by(provider, **sent)[0].kind, CENTRALIZED)


class HintTests(SynchronousTestCase):
    """The hint of a secret."""

    def test_short(self):
        """A secret of less than sixteen characters, without its scheme, has no hint."""
        for secret in (b"", b"x", b"123456789012345", b"Bearer 123456789012345", b"Basic 123456789012345"):
            self.assertIsNone(hint(secret))
        self.assertEqual(hint(b"1234567890123456"), "1234...56")
        self.assertEqual(hint(b"Bearer 1234567890123456"), "1234...56")

    @settings(max_examples=80, deadline=None)
    @given(st.binary(max_size=60))
    def test_at_most(self, secret):
        """Never more than its first four and last two characters."""
        found = hint(secret)
        if found is not None:
            shown = found.replace("...", "", 1)
            self.assertLessEqual(len(shown), 6)


class CompleteTests(SynchronousTestCase):
    """The headers that only the gateway may send to a provider."""

    def complete(self, actor=None, **options):
        headers = RawHeaders([(b"accept", b"*/*")])
        provider = OpenAIProvider(api_key=CONFIGURED, **options)
        provider.add_headers(headers, provider.credential(RawHeaders()), actor or Actor("alice", {"team": "core"}))
        return headers

    def test_actor(self):
        """The actor's headers are sent if that is configured, and not otherwise."""
        silent = self.complete()
        self.assertFalse([name for name, _ in silent.getAllRawHeaders() if b"actor" in name.lower()])
        told = self.complete(send_actor_headers=True)
        self.assertEqual(told.getRawHeaders("X-AI-Bridge-Actor-ID"), ["alice"])
        self.assertEqual(told.getRawHeaders("X-AI-Bridge-Actor-Metadata-team"), ["core"])

    def test_actors_of_any_name(self):
        """No id and no metadata can break out of its header."""
        odd = "x\r\nX-Api-Key: y\0\u2028\ud800"
        headers = self.complete(Actor(odd, {odd: odd, "": "", "a b": 7, "ü:": None}), send_actor_headers=True)
        for name, values in headers.getAllRawHeaders():
            self.assertNotRegex(name + b"".join(values), rb"[\r\n\0]")
        names = {name.lower() for name, _ in headers.getAllRawHeaders()}
        self.assertIn(b"x-ai-bridge-actor-metadata-a-b", names)
        self.assertNotIn(b"x-api-key", names)

    def test_extra(self):
        """The operator's own headers are set, in the place of the client's."""
        headers = self.complete(extra_headers={"Accept": "text/plain", "OpenAI-Organization": "org"})
        self.assertEqual(headers.getRawHeaders("accept"), ["text/plain"])
        self.assertEqual(headers.getRawHeaders("openai-organization"), ["org"])


class ErrorShapeTests(SynchronousTestCase):
    """Errors in the shape of each provider's API."""

    def test_shapes(self):
        """Anthropic's with a type at its head, OpenAI's with a code."""
        error = MissingCredential("none")
        self.assertEqual(ANTHROPIC.error_body(error), error.as_anthropic())
        self.assertEqual(OPENAI.error_body(error), error.as_openai())
