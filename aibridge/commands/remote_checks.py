"""The checks of ``aibridge doctor`` on providers, issuers of tokens and MCP servers."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from twisted.internet import asyncioreactor, defer
from twisted.internet.defer import Deferred, gatherResults
from twisted.python.failure import Failure
from twisted.web.iweb import IResponse

from ..config.model import AuthConfig, Config
from ..errors import AIBridgeError, GatewayError
from ..http.agent import UpstreamAgent
from ..http.headers import RawHeaders
from ..http.tls import TLSPolicy
from ..identity.authenticate import ANONYMOUS
from ..identity.credentials import Credential
from ..identity.jwks import from_url, read_keys
from ..providers.base import Provider
from ..settings import on_one_line
from ..tools.settings import MCPServerSettings
from ..tools.toolbox import make_toolbox
from .findings import BROKEN, CHECK_TIMEOUT, OK, WARNING, Finding

_MODELS = b"/v1/models"
_HEADERS = ((b"accept", b"application/json"), (b"anthropic-version", b"2023-06-01"))
_CLOCK = "clock:"
_CLOCK_TOLERANCE = 60.0
"""Seconds; the Date header of a response has whole seconds, and the response takes its time."""


def check_remotely(config: Config) -> list[Finding]:
    """Ask all providers, issuers and MCP servers at the same time. Runs the reactor, so a process can do this once."""
    asyncioreactor.install(asyncio.new_event_loop())
    from twisted.internet import reactor

    ended: list[list[list[Finding]] | Failure] = []

    def start() -> None:
        checks = [check_provider(provider, reactor) for provider in config.providers.values()]
        checks += [_check_issuer(config.auth, reactor)] if config.auth.jwks_url else []
        checks += [_check_mcp(config.mcp.servers, reactor)] if config.mcp.servers else []
        gatherResults(map(Deferred.fromCoroutine, checks), consumeErrors=True).addBoth(finish)

    def finish(result: list[list[Finding]] | Failure) -> None:
        ended.append(result)
        reactor.stop()

    reactor.callWhenRunning(start)
    reactor.run()
    if not ended:
        raise AIBridgeError("interrupted")
    if isinstance(ended[0], Failure):
        ended[0].raiseException()
    findings = [finding for each in ended[0] for finding in each]
    on_clock = [finding for finding in findings if finding.text.startswith(_CLOCK)]
    # All providers tell the same about a wrong clock: the first is enough.
    return [finding for finding in findings if finding not in on_clock] + on_clock[:1]


async def check_provider(provider: Provider, reactor: Any) -> list[Finding]:
    """Ask a provider for its models, with the configured key or with each of several."""
    keys = provider.pooled_credentials or ([provider.credential(RawHeaders())] if provider.has_key else [None])
    asked = await gatherResults([Deferred.fromCoroutine(_ask_for_models(provider, key, reactor)) for key in keys])
    findings = dict.fromkeys(finding for found in asked for finding in found)
    return [*findings, *await _check_credentials(provider, reactor)]


async def _ask_for_models(provider: Provider, credential: Credential | None, reactor: Any) -> list[Finding]:
    """Ask a provider for its models with one key, or with none. Judge its address, the key and the clock."""
    agent = UpstreamAgent(
        reactor,
        connect_timeout=min(provider.connect_timeout, CHECK_TIMEOUT),
        tls_policy=TLSPolicy(provider.ca_file, provider.client_cert),
        proxy=provider.proxy,
    )
    headers = RawHeaders(_HEADERS)
    if credential is not None:
        provider.add_headers(headers, credential, ANONYMOUS)
    try:
        request = agent.request(b"GET", provider.url(_MODELS, b""), headers)
        response = await request.addTimeout(CHECK_TIMEOUT, reactor)
    except defer.TimeoutError:
        why = f"no response from {provider.base_url} within {CHECK_TIMEOUT:g} seconds"
        return [Finding(BROKEN, f"provider {provider.name}: {why}", "look at the network, the firewall and the proxy")]
    except (GatewayError, ValueError) as error:
        mend = f"correct providers.{provider.name}.base_url, or look at the network, the proxy and ca_file"
        return [Finding(BROKEN, f"provider {provider.name}: {on_one_line(error)}", mend)]
    finally:
        agent.close()
    return [_judge_response(provider, response, credential), *_check_clock(provider, response)]


async def _check_credentials(provider: Provider, reactor: Any) -> list[Finding]:
    """Look for the credentials for a cloud, where they are not configured."""
    authorizer = provider.authorizer(reactor)
    if authorizer is None or provider.has_key:
        return []
    authorizer.start()
    try:
        credential = await authorizer.credential()
    except GatewayError as error:
        mend = f"see the manual's page on the type {provider.type}"
        return [Finding(BROKEN, f"provider {provider.name}: {error.message.rstrip('.')}", mend)]
    return [Finding(OK, f"provider {provider.name}: credentials are found: {credential.hint}")]


def _judge_response(provider: Provider, response: IResponse, credential: Credential | None) -> Finding:
    """Return what the status of the response to a request for models means."""
    key = f"providers.{provider.name}.api_key"
    several = provider.pooled_credentials
    which = f" no. {several.index(credential) + 1}" if credential in several else ""
    name, status = f"provider {provider.name}: {provider.base_url}", response.code
    if status >= 500:
        return Finding(BROKEN, f"{name} responds with {status}", "see the provider's status page, or try again later")
    if not provider.lists_models:
        return Finding(OK, f"{name} responds")
    if credential is None:
        return Finding(OK, f"{name} responds; there is no {key}, so each client sends its own key")
    if status in (401, 403):
        return Finding(
            BROKEN,
            f"{name} refuses the configured key{which} with {status}",
            f"set {key}, or its variable, to a valid key",
        )
    if status == 404:
        mend = f"compare providers.{provider.name}.base_url with the provider's manual; some have no list of models"
        return Finding(WARNING, f"{name} has no list of models (404)", mend)
    if status != 200:
        return Finding(
            WARNING,
            f"{name} responds with {status}",
            f"compare providers.{provider.name}.base_url with the provider's manual",
        )
    return Finding(OK, f"{name} responds and accepts the configured key{which}")


def _check_clock(provider: Provider, response: IResponse) -> list[Finding]:
    """Compare this machine's clock with the time that a provider states, if it states one."""
    try:
        [date] = response.headers.getRawHeaders(b"date", [])
        stated = parsedate_to_datetime(date.decode("ascii"))
    except ValueError:
        return []
    behind = (stated.replace(tzinfo=stated.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    if abs(behind) <= _CLOCK_TOLERANCE:
        return []
    direction = "behind" if behind > 0 else "ahead of"
    why = f"{_CLOCK} {abs(behind):.0f} seconds {direction} the clock of provider {provider.name}"
    return [Finding(BROKEN, why, "let the system set the time: timedatectl set-ntp true")]


async def _check_issuer(auth: AuthConfig, reactor: Any) -> list[Finding]:
    """Fetch the keys of the issuer of tokens."""
    assert auth.jwks_url is not None
    try:
        keys = read_keys(await from_url(auth.jwks_url, reactor)())
    except Exception as error:
        why = "no response in time" if isinstance(error, defer.TimeoutError) else on_one_line(error)
        return [
            Finding(BROKEN, f"auth.jwks_url: {auth.jwks_url}: {why}", "correct auth.jwks_url, or look at the network")
        ]
    return [Finding(OK, f"auth.jwks_url: the issuer has {len(keys)} usable keys")]


async def _check_mcp(servers: Mapping[str, MCPServerSettings], reactor: Any) -> list[Finding]:
    """Connect to all MCP servers."""
    toolbox = make_toolbox(servers.values(), reactor)
    toolbox.start()
    try:
        await toolbox.settled().addTimeout(CHECK_TIMEOUT, reactor, onTimeoutCancel=lambda result, seconds: None)
        return [_judge_server(status) for status in toolbox.status()]
    finally:
        await toolbox.stop().addTimeout(CHECK_TIMEOUT, reactor, onTimeoutCancel=lambda result, seconds: None)


def _judge_server(status: Mapping[str, Any]) -> Finding:
    """Return what the state of an MCP server means."""
    name = f"mcp.{status['name']}: {status['address']}"
    if status["state"] != "up":
        why = status["last_error"] or f"no connection within {CHECK_TIMEOUT:g} seconds"
        return Finding(BROKEN, f"{name}: {why}", f"start the server, or correct mcp.{status['name']}")
    if not status["tools"]:
        mend = f"see aibridge tools list, and allow and deny at mcp.{status['name']}"
        return Finding(WARNING, f"{name}: connected, but models get none of its tools", mend)
    return Finding(OK, f"{name}: connected, with {len(status['tools'])} tools")
