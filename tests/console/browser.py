"""A browser without a window: it keeps cookies, follows links and fills in forms, and reads HTML strictly."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode, urljoin, urlsplit
from xml.etree.ElementTree import Element

import html5lib
from treq.client import HTTPClient
from twisted.internet import reactor
from twisted.web.client import Agent, HTTPConnectionPool

from aibridge.http.server import GatewaySite

from .site import WithConsole

LIMITS = {
    "max_body_bytes": 1 << 20,
    "head_timeout": 20.0,
    "body_timeout": 20.0,
    "request_timeout": 60.0,
    "keepalive_timeout": 20.0,
    "stall_timeout": 60.0,
}


class WithPages(WithConsole):
    """Mixed into tests of the pages."""

    def setUp(self) -> None:
        super().setUp()
        site = GatewaySite(self.site.root, **LIMITS, reactor=reactor)
        listening: Any = reactor.listenTCP(0, site, interface="127.0.0.1")  # type: ignore[attr-defined]
        self.addCleanup(listening.stopListening)
        self.base = f"http://127.0.0.1:{listening.getHost().port}"
        self.forget()
        self.path = "/"

    def forget(self) -> None:
        """Begin anew, without cookies."""
        self.client = HTTPClient(Agent(reactor, pool=HTTPConnectionPool(reactor, persistent=False)))
        self.cookies: dict[str, str] = {}

    timeout = 5

    async def open(self, path: str, *, follow: bool = True, **headers: str) -> int:
        """Open a page, and return its status."""
        return await self._request("GET", path, None, headers, follow)

    async def submit(self, fields: Mapping[str, str], path: str | None = None, **headers: str) -> int:
        """Send a form of the present page, with its hidden fields, and return the status of the answer."""
        hidden = {}
        if path is None:
            form = self.form(*fields)
            hidden = {name: field.get("value", "") for field in form.iter("input") if (name := field.get("name"))}
            path = form.get("action") or self.path
        return await self._request("POST", path, {**hidden, **fields}, headers, True)

    def form(self, *names: str) -> Element:
        """Return the form of the page that has these fields."""
        for form in self.all("form"):
            if {*names} <= {each.get("name") for each in form.iter() if each.get("name")}:
                return form
        raise AssertionError(f"no form has {names}")

    def all(self, tag: str, **attributes: str) -> list[Element]:
        """Return all elements of the page of that tag with these attributes."""
        found = [each for each in self.page.iter() if str(each.tag).rpartition("}")[2] == tag]
        return [each for each in found if all(each.get(name) == value for name, value in attributes.items())]

    def value(self, name: str) -> str:
        """Return the value of the first field of that name."""
        return self.all("input", name=name)[0].get("value") or ""

    def text(self, tag: str = "main") -> str:
        """Return the text of the first such element, with its blanks made one."""
        return " ".join(" ".join("".join(each.itertext()) for each in self.all(tag)[:1]).split())

    async def _request(
        self, method: str, path: str, fields: Mapping[str, str] | None, headers: Mapping[str, str], follow: bool
    ) -> int:
        given = {"Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())} if self.cookies else {}
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        body: Any = urlencode(fields).encode() if fields is not None else None
        if body is not None:
            given["Content-Type"] = "application/x-www-form-urlencoded"
        asked = self.client.request(method, urljoin(self.base, path), headers=given, data=body, allow_redirects=False)
        answer = await asked
        self.headers = answer.headers
        self.body = await answer.content()
        for cookie in answer.headers.getRawHeaders("set-cookie", ()):
            name, _, value = cookie.partition(";")[0].partition("=")
            self.cookies[name] = value
        target = answer.headers.getRawHeaders("location", [""])[0]
        if target and follow:
            return await self._request("GET", target, None, {}, True)
        self.target = target
        self.path = urlsplit(path).path
        if self.body:
            self.page = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parse(self.body.decode())
        return int(answer.code)
