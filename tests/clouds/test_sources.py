"""Where credentials come from: botocore, google-auth and azure-identity, before servers of this machine."""

import builtins
import json
import os
import socket
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from google.oauth2 import credentials
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase
from twisted.web.resource import Resource

from aibridge.clouds import aws
from aibridge.clouds.aws import AwsSettings, find_signer
from aibridge.clouds.bearer import find_entra_token, find_google_token
from aibridge.clouds.lookup import NothingFound
from aibridge.http.headers import RawHeaders
from aibridge.testing import LoopbackServer
from aibridge.upstream.call import UpstreamCall

_FIND = """
from aibridge.clouds.bearer import find_google_token
from aibridge.clouds.lookup import NothingFound
try:
    found = find_google_token()
    print(found.value.header.decode(), found.value.hint, found.expires_at, sep="|")
except NothingFound as error:
    print(error)
"""
SETTINGS = AwsSettings(region="eu-central-1", service="bedrock")


class Answers(Resource):
    """A server with an answer for each path, which keeps what it was asked."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[str, str]] = []
        self.answers: dict[str, bytes] = {}

    def render(self, request: Any) -> bytes:
        path = request.uri.decode().partition("?")[0]
        self.asked.append((request.uri.decode(), request.content.read().decode()))
        request.setHeader("Metadata-Flavor", "Google")
        answer = self.answers.get(path)
        if answer is None:
            request.setResponseCode(404)
            return b"{}"
        if b"<Error>" in answer:
            request.setResponseCode(403)
        request.setHeader("content-type", "text/xml" if answer.startswith(b"<") else "application/json")
        return answer


class SourceTestCase(TestCase):
    """An environment of the test's own, and a server that answers."""

    timeout = 30

    async def setUp(self) -> None:
        self.home = Path(self.mktemp())
        self.home.mkdir()
        self.server = Answers()
        listening = LoopbackServer(reactor, self.server)
        self.addCleanup(listening.stop)
        self.url = await listening.start()
        environ = {
            "HOME": str(self.home),
            "PATH": os.environ["PATH"],
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": str(self.home / "config"),
            "AWS_SHARED_CREDENTIALS_FILE": str(self.home / "credentials"),
        }
        self.patch(os, "environ", environ)
        self.expires = datetime.now(UTC) + timedelta(hours=1)

    def role(self) -> bytes:
        """The answer of STS to AssumeRole."""
        return (
            '<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><Credentials>'
            "<AccessKeyId>ASIAROLE0000000004</AccessKeyId><SecretAccessKey>r</SecretAccessKey>"
            f"<SessionToken>t</SessionToken><Expiration>{self.expires.strftime('%Y-%m-%dT%H:%M:%SZ')}</Expiration>"
            "</Credentials></AssumeRoleResult></AssumeRoleResponse>"
        ).encode()

    async def assert_nothing(self, find: Any, *words: str) -> None:
        """A look-up finds nothing, and says so in these words."""
        error = await self.assertFailure(deferToThread(find), NothingFound)
        for word in words:
            self.assertIn(word, str(error))


class AwsTests(SourceTestCase):
    """Botocore's chain."""

    async def find(self, **settings: str) -> tuple[str | None, float | None, bytes]:
        """The hint and the end of the credentials, and the signature of a request."""
        given = AwsSettings(region="eu-central-1", service="bedrock", **settings)  # type: ignore[arg-type]
        found = await deferToThread(find_signer, given)
        headers = RawHeaders()
        found.value.sign(b"POST", b"http://127.0.0.1:1/x", headers, b"{}")
        return found.value.hint, found.expires_at, headers.by_name[b"authorization"][0]

    async def test_environment(self) -> None:
        """Variables have keys without an end."""
        os.environ.update(AWS_ACCESS_KEY_ID="AKIDENVIRONMENT0001", AWS_SECRET_ACCESS_KEY="s")
        hint, expires, signature = await self.find()
        self.assertEqual((hint, expires), ("AKID...01", None))
        self.assertIn(b"/eu-central-1/bedrock/aws4_request, SignedHeaders=host;x-amz-date,", signature)

    async def test_profile(self) -> None:
        """A profile's keys are found by its name; an unknown profile is told."""
        (self.home / "credentials").write_text(
            "[team]\naws_access_key_id = AKIDPROFILE000002\naws_secret_access_key = s\n"
        )
        self.assertEqual((await self.find(profile="team"))[0], "AKID...02")
        await self.assert_nothing(lambda: find_signer(AwsSettings(region="x", service="y", profile="other")), "Profile")

    async def test_container(self) -> None:
        """A container's credentials have an end."""
        self.server.answers["/creds"] = json.dumps(
            {
                "AccessKeyId": "ASIACONTAINER00003",
                "SecretAccessKey": "s",
                "Token": "t",
                "Expiration": self.expires.strftime("%Y-%m-%dT%H:%M:%SZ"),
            }
        ).encode()
        os.environ["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = f"{self.url}/creds"
        hint, expires, _ = await self.find()
        self.assertEqual((hint, expires), ("ASIA...03", float(int(self.expires.timestamp()))))

    async def test_role(self) -> None:
        """A role is assumed with what the chain has, and with its external id."""
        os.environ.update(AWS_ACCESS_KEY_ID="AKIDENVIRONMENT0001", AWS_SECRET_ACCESS_KEY="s")
        os.environ["AWS_ENDPOINT_URL_STS"] = self.url
        self.server.answers["/"] = self.role()
        role = "arn:aws:iam::123456789012:role/models"
        hint, expires, signature = await self.find(role_arn=role, external_id="x-1")
        self.assertEqual((hint, expires), ("ASIA...04", float(int(self.expires.timestamp()))))
        self.assertIn(b"SignedHeaders=host;x-amz-date;x-amz-security-token", signature)
        [(_, body)] = self.server.asked
        asked = parse_qs(body)
        self.assertEqual((asked["RoleArn"], asked["ExternalId"]), ([role], ["x-1"]))

    async def test_role_refused(self) -> None:
        """A role that is refused is told by the code of the error, and nothing else of it."""
        os.environ.update(AWS_ACCESS_KEY_ID="AKIDENVIRONMENT0001", AWS_SECRET_ACCESS_KEY="s", AWS_MAX_ATTEMPTS="1")
        os.environ["AWS_ENDPOINT_URL_STS"] = self.url
        self.server.answers["/"] = (
            b'<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Code>AccessDenied</Code>'
            b"<Message>User: arn:aws:iam::1:user/secret</Message></Error></ErrorResponse>"
        )
        settings = AwsSettings(region="eu-central-1", service="bedrock", role_arn="arn:aws:iam::123456789012:role/x")
        await self.assert_nothing(lambda: find_signer(settings), "sts:AssumeRole was refused: AccessDenied")

    async def test_nothing(self) -> None:
        """Without any credentials the reason says where they were looked for."""
        await self.assert_nothing(lambda: find_signer(SETTINGS), "environment", "profile", "container", "instance")


class GoogleTests(SourceTestCase):
    """Application default credentials."""

    async def test_metadata_server(self) -> None:
        """The token of a machine's service account, with its end."""
        account = "/computeMetadata/v1/instance/service-accounts"
        self.server.answers |= {
            "/": b"ok",
            "/computeMetadata/v1/project/project-id": b"p",
            "/computeMetadata/v1/universe/universe-domain": b"googleapis.com",
            f"{account}/default/": b'{"email":"a@b","scopes":["https://www.googleapis.com/auth/cloud-platform"]}',
            f"{account}/default/token": b'{"access_token":"ya29.of-the-machine","expires_in":3600}',
            f"{account}/a@b/token": b'{"access_token":"ya29.of-the-machine","expires_in":3600}',
        }
        header, hint, expires = (await self.run_apart(self.url.removeprefix("http://"))).split("|")
        self.assertEqual((header, hint), ("Bearer ya29.of-the-machine", "ya29...ne"))
        self.assertLess(abs(float(expires) - self.expires.timestamp()), 60)

    async def run_apart(self, host: str) -> str:
        """What a process of its own finds: the library reads the metadata server's address when it is imported."""
        environ = {
            **os.environ,
            "GCE_METADATA_HOST": host,
            "GCE_METADATA_IP": host,
            "PYTHONPATH": os.pathsep.join(sys.path),
        }
        done = await deferToThread(
            subprocess.run, [sys.executable, "-c", _FIND], env=environ, capture_output=True, text=True, timeout=20
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        return str(done.stdout).strip()

    async def test_user(self) -> None:
        """A user's own credentials, as gcloud leaves them, are exchanged for a token."""
        path = self.home / "adc.json"
        document = {"type": "authorized_user", "client_id": "c", "client_secret": "s", "refresh_token": "r"}
        path.write_text(json.dumps(document | {"token_uri": f"{self.url}/token"}))
        os.environ["GOOGLE_APPLICATION_CREDENTIALS"] = str(path)
        self.server.answers["/token"] = b'{"access_token":"ya29.of-the-user-1","expires_in":60}'
        self.patch(credentials, "_GOOGLE_OAUTH2_TOKEN_ENDPOINT", f"{self.url}/token")
        found = await deferToThread(find_google_token)
        self.assertEqual(found.value.header, b"Bearer ya29.of-the-user-1")

    async def test_nothing(self) -> None:
        """Without any the reason says so."""
        self.assertEqual(await self.run_apart("127.0.0.1:1"), "there are no application default credentials")


class EntraTests(SourceTestCase):
    """Azure's identities."""

    async def test_managed_identity(self) -> None:
        """The token of a managed identity, for the scope that was asked for, with its end."""
        os.environ.update(IDENTITY_ENDPOINT=f"{self.url}/identity", IDENTITY_HEADER="secret")
        expires = int(self.expires.timestamp())
        token = {"access_token": "eyJ.of-the-machine.x", "expires_on": str(expires), "token_type": "Bearer"}
        self.server.answers["/identity"] = json.dumps(token).encode()
        found = await deferToThread(find_entra_token, "https://ai.azure.com/.default")
        self.assertEqual(found.value.header, b"Bearer eyJ.of-the-machine.x")
        assert found.expires_at is not None
        self.assertLess(abs(found.expires_at - expires), 60)
        self.assertIn("https://ai.azure.com", self.server.asked[-1][0])


class ThreadTests(SourceTestCase):
    """The reactor's thread."""

    async def test_nothing_blocks(self) -> None:
        """Files are opened, and servers waited for, in other threads only; signing does neither."""
        places: list[threading.Thread] = []
        connect, open_file = socket.socket.connect, open

        def note_connect(sock: socket.socket, address: Any) -> None:
            if sock.gettimeout() != 0:  # asyncio's own don't block
                places.append(threading.current_thread())
            connect(sock, address)

        def note_open(file: Any, *rest: Any, **options: Any) -> Any:
            places.append(threading.current_thread())
            return open_file(file, *rest, **options)

        (self.home / "credentials").write_text(
            "[team]\naws_access_key_id = AKIDPROFILE000002\naws_secret_access_key = s\n"
        )
        os.environ["AWS_ENDPOINT_URL_STS"] = self.url
        self.server.answers["/"] = self.role()
        self.patch(socket.socket, "connect", note_connect)
        self.patch(builtins, "open", note_open)
        role = "arn:aws:iam::123456789012:role/models"
        authorizer = aws.SigV4Authorizer(
            AwsSettings(region="eu-central-1", service="bedrock", profile="team", role_arn=role),
            reactor,  # type: ignore[arg-type]
        )
        authorizer.start()
        self.assertEqual((await authorizer.credential()).hint, "ASIA...04")
        call = UpstreamCall(b"POST", b"https://bedrock.test/x", RawHeaders(), b"{}")
        self.assertIsNone(authorizer.authorize(call))
        self.assertTrue(call.headers.hasHeader(b"authorization"))
        self.assertGreater(len(places), 1)
        self.assertNotIn(threading.current_thread(), places)

    async def test_not_in_the_reactors_thread(self) -> None:
        """Whatever a look-up does, it does in another thread, and the reactor goes on meanwhile."""
        seen: list[threading.Thread] = []
        may_end = threading.Event()

        def slow(settings: AwsSettings) -> Any:
            seen.append(threading.current_thread())
            may_end.wait(10)
            return find_signer(settings)

        self.patch(aws, "find_signer", slow)
        os.environ.update(AWS_ACCESS_KEY_ID="AKIDENVIRONMENT0001", AWS_SECRET_ACCESS_KEY="s")
        authorizer = aws.SigV4Authorizer(SETTINGS, reactor)  # type: ignore[arg-type]
        waiting = authorizer.credential()
        turned: Deferred[None] = Deferred()
        reactor.callLater(0, turned.callback, None)  # type: ignore[attr-defined]
        await turned
        self.assertNoResult(waiting)
        may_end.set()
        self.assertEqual((await waiting).hint, "AKID...01")
        self.assertNotEqual(seen, [threading.current_thread()])
