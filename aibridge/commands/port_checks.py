"""The check of ``aibridge doctor`` on the addresses of the gateway's listeners."""

import errno
import json
import os
import socket
from collections.abc import Iterator, Mapping
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from ..config.endpoints import OFF, Endpoint, parse_endpoint
from ..config.model import Config, ServerConfig
from ..record.urls import exists
from ..service.banner import TITLES
from .findings import BROKEN, OK, WARNING, Finding

_GATEWAY_TIMEOUT = 2.0
"""Seconds that a running gateway has for its response."""


def check_ports(config: Config) -> Iterator[Finding]:
    """Look whether the gateway can listen where it is to listen."""
    for key, title in TITLES.items():
        description = getattr(config.server, key)
        if description != OFF:
            yield _check_port(key, title, description, config.server)


def _check_port(key: str, title: str, description: str, server: ServerConfig) -> Finding:
    """Bind the address of a listener for a moment, without listening."""
    endpoint = parse_endpoint(description)
    if endpoint.kind == "unix":
        return _check_socket_folder(key, description)
    try:
        if endpoint.port:
            _bind(endpoint)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return _judge_used_port(key, endpoint, server)
        if error.errno == errno.EACCES:
            mend = f"choose a port above 1023 for server.{key}, or give the process CAP_NET_BIND_SERVICE"
            return Finding(BROKEN, f"server.{key}: this user can't listen on port {endpoint.port}", mend)
        why = f"server.{key}: can't listen on {description}: {os.strerror(error.errno or 0)}"
        return Finding(BROKEN, why, f"set server.{key} to an address of this machine, such as tcp:8080")
    return Finding(OK, f"server.{key}: the {title} can listen on {description}")


def _bind(endpoint: Endpoint) -> None:
    host = endpoint.interface or ""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as attempt:
        attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        attempt.bind((host, endpoint.port))


def _check_socket_folder(key: str, description: str) -> Finding:
    folder = Path(description.split(":")[1]).parent
    if exists(folder) and folder.is_dir() and os.access(folder, os.W_OK | os.X_OK):
        return Finding(OK, f"server.{key}: its socket can be made in {folder}")
    return Finding(BROKEN, f"server.{key}: no socket can be made in {folder}", f"make {folder}, or let this user write")


def _judge_used_port(key: str, endpoint: Endpoint, server: ServerConfig) -> Finding:
    """Tell a gateway that runs already from another program on its port."""
    taken = f"server.{key}: port {endpoint.port} is in use"
    report = _ask_gateway(server)
    if report is None:
        mend = f"find the program with: ss -ltnp 'sport = :{endpoint.port}'; end it, or choose another server.{key}"
        return Finding(BROKEN, f"{taken} by another program", mend)
    if report.get("ready"):
        return Finding(OK, f"{taken} by a gateway that is running and ready")
    parts = [name for name, part in report.items() if isinstance(part, dict) and not part.get("ready", True)]
    return Finding(WARNING, f"{taken} by a gateway that is running but not ready: {', '.join(parts)}", "see its log")


def _ask_gateway(server: ServerConfig) -> Mapping[str, object] | None:
    """Return the report of the gateway that runs on the operator's port; None if there is none."""
    admin = None if server.admin_listen == OFF else parse_endpoint(server.admin_listen)
    if admin is None or not admin.port:
        return None
    host = "127.0.0.1" if admin.is_everywhere or not admin.interface else admin.interface
    connection = HTTPConnection(host, admin.port, timeout=_GATEWAY_TIMEOUT)
    try:
        connection.request("GET", "/readyz")
        report = json.loads(connection.getresponse().read(2**20))
    except (OSError, HTTPException, ValueError):
        return None
    finally:
        connection.close()
    return report if isinstance(report, dict) and "ready" in report and "database" in report else None
