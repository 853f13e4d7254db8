"""A minimal proxy with aiohttp: the cost of Python without a gateway's work.

Run as a script: ``python aiohttp_proxy.py PORT UPSTREAM [CA_FILE]``.
"""

import asyncio
import socket
import ssl
import sys

import aiohttp
import uvloop
from aiohttp import web
from multidict import CIMultiDict, MultiMapping

HOP_BY_HOP = frozenset({"connection", "host", "keep-alive", "transfer-encoding"})


def end_to_end(headers: MultiMapping[str]) -> CIMultiDict[str]:
    """Return the headers that a proxy passes on."""
    return CIMultiDict((name, value) for name, value in headers.items() if name.lower() not in HOP_BY_HOP)


def proxy_to(upstream: str, session: aiohttp.ClientSession) -> web.Application:
    """Return an application that sends every request to `upstream`."""

    async def relay(request: web.Request) -> web.StreamResponse:
        async with session.request(
            request.method,
            upstream + request.path_qs,
            headers=end_to_end(request.headers),
            data=await request.read(),
            allow_redirects=False,
        ) as received:
            headers = end_to_end(received.headers)
            if received.content_length is not None:
                return web.Response(status=received.status, headers=headers, body=await received.read())
            response = web.StreamResponse(status=received.status, headers=headers)
            await response.prepare(request)
            async for piece in received.content.iter_any():
                await response.write(piece)
            await response.write_eof()
            return response

    app = web.Application(client_max_size=2**26)
    app.router.add_route("*", "/{path:.*}", relay)
    return app


async def serve(port: int, upstream: str, ca_file: str | None = None) -> None:
    """Serve on loopback until the process is ended."""
    context = ssl.create_default_context(cafile=ca_file) if ca_file else True
    connector = aiohttp.TCPConnector(limit=0, ssl=context)
    no_timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(connector=connector, timeout=no_timeout, auto_decompress=False) as session:
        app = proxy_to(upstream, session)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port, backlog=socket.SOMAXCONN).start()
        await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), *sys.argv[2:]))
