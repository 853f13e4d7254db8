"""The dumps of all providers of a gateway, as they are configured at present."""

from collections.abc import Collection
from functools import partial
from pathlib import Path
from typing import Any
from weakref import WeakSet

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.threads import deferToThreadPool

from ..interfaces import IDumpPolicy, IProvider, IUpstream
from ..metrics import Metrics
from .folder import DumpFolder
from .masking import secrets_of
from .upstream import DumpedUpstream
from .writer import DumpWriter


class Dumps:
    """The writers of the providers whose exchanges are dumped; there may be none.

    The reactor's thread pool does the writing.
    """

    def __init__(self, metrics: Metrics, reactor: Any) -> None:
        self._metrics = metrics
        self._reactor = reactor
        self._writers: dict[str, DumpWriter] = {}
        self._all: WeakSet[DumpWriter] = WeakSet()
        """The writers, with those of earlier settings that an exchange still uses."""

    def observe(self, provider: IProvider, upstream: IUpstream) -> IUpstream:
        """Return an upstream of the provider with its dumps; the upstream itself, if there are none."""
        writer = self._writers.get(provider.name)
        if writer is None:
            return upstream
        headers = [name.lower().encode() for name in getattr(provider, "extra_headers", {})]
        return DumpedUpstream(upstream, writer, secrets_of(provider), headers)

    def apply(self, providers: Collection[IProvider]) -> None:
        """Use the settings of these providers. A writer stays if its settings do."""
        before, self._writers = self._writers, {}
        for provider in providers:
            policy = IDumpPolicy(provider, None)
            if policy is None or not policy.dump_dir:
                continue
            folder = DumpFolder(Path(policy.dump_dir).absolute(), policy.dump_max_bytes, policy.dump_days)
            writer = before.get(provider.name)
            if writer is None or not writer.folder.has_settings_of(folder):
                run_in_thread = partial(deferToThreadPool, self._reactor, self._reactor.getThreadPool())
                writer = DumpWriter(provider.name, folder, run_in_thread, self._reactor, self._metrics)
            self._writers[provider.name] = writer
            self._all.add(writer)

    def report(self) -> dict[str, dict[str, str]]:
        """Return folder and state of the dumps, as JSON values, for each provider that has some."""
        return {
            name: {"folder": str(writer.folder.path), "stopped": writer.stopped}
            for name, writer in sorted(self._writers.items())
        }

    def flush(self) -> "Deferred[list[None]]":
        """Fires when all dumps until now are written."""
        return gatherResults([writer.flush() for writer in self._all], consumeErrors=True)
