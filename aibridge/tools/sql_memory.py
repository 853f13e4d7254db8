"""The gateway's memory of conversations in the recorder's database, which all gateways on that database share."""

import json
from collections.abc import Sequence
from hashlib import sha256
from typing import Any
from uuid import UUID

import orjson
from attrs import asdict
from sqlalchemy import select
from twisted.internet.defer import Deferred, succeed
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from zope.interface import implementer

from ..interfaces import IMemory
from ..record.database import describe, open_reader
from ..record.recorder import SQLRecorder
from ..record.records import AnchorRecord, ToolsetRecord, TurnRecord
from ..record.schema import anchors, toolsets, turns
from ..record.values import new_id, utc_now
from ..wire import jsontext
from ..wire.history import HiddenRound, Turn
from .memory import ShortMemory
from .toolset import Remembered, Toolset

_log = Logger()
_MAX_IDS = 500
"""Anchors in one query. A long history needs several queries."""


@implementer(IMemory)
class SQLMemory:
    """Remembers in the database at ``url``.

    The recorder writes, so a response's records and what is remembered of it become durable together. What this process
    remembered lately is also kept in memory: it needs no query, and is found while the database can't be reached.
    """

    def __init__(self, url: str, recorder: SQLRecorder, reactor: Any) -> None:
        self._reader = open_reader(url)
        self._recorder = recorder
        self._reactor = reactor
        self._recent = ShortMemory()

    def remember(self, remembered: Remembered) -> "Deferred[None]":
        """See `aibridge.interfaces.IMemory`."""
        self._recent.remember(remembered)
        toolset, turn, now = remembered.toolset, remembered.turn, utc_now()
        toolset_id, turn_id = _id(toolset.digest), new_id()
        content = json.dumps(toolset.dump())
        turn_record = TurnRecord(
            id=turn_id,
            initiator_id=remembered.actor_id,
            provider_name=remembered.provider,
            toolset_id=toolset_id,
            content=_dump_turn(turn),
            created_at=now,
        )
        anchor_ids = [_id(remembered.actor_id, remembered.provider, anchor) for anchor in turn.anchors]
        return self._recorder.record_all(
            [
                ToolsetRecord(id=toolset_id, digest=toolset.digest, content=content, created_at=now),
                turn_record,
                *[AnchorRecord(id=anchor_id, turn_id=turn_id, created_at=now) for anchor_id in anchor_ids],
            ]
        )

    def recall(self, actor_id: str, provider: str, wanted: Sequence[str]) -> "Deferred[list[Remembered]]":
        """See `aibridge.interfaces.IMemory`."""
        if not wanted:
            return succeed([])
        return Deferred.fromCoroutine(self._recall(actor_id, provider, wanted))

    async def _recall(self, actor_id: str, provider: str, wanted: Sequence[str]) -> list[Remembered]:
        recent = await self._recent.recall(actor_id, provider, wanted)
        known = {anchor for each in recent for anchor in each.turn.anchors}
        missing = [_id(actor_id, provider, anchor) for anchor in wanted if anchor not in known]
        if not missing:
            return recent
        pool = self._reactor.getThreadPool()
        older = await deferToThreadPool(self._reactor, pool, self._load, actor_id, provider, missing)
        return older + recent

    def _load(self, actor_id: str, provider: str, anchor_ids: Sequence[UUID]) -> list[Remembered]:
        """Read what the database has of these anchors, the oldest turn first. Runs on a thread."""
        # Ids grow with time. Several anchors may lead to one turn, and several turns have one toolset.
        by_turn = {turn_id: (turn, toolset) for turn_id, turn, toolset in self._query(anchor_ids)}
        tools = {toolset: Toolset.load(json.loads(toolset)) for _, toolset in by_turn.values()}
        return [
            Remembered(actor_id, provider, tools[toolset], _load_turn(turn))
            for _, (turn, toolset) in sorted(by_turn.items())
        ]

    def _query(self, anchor_ids: Sequence[UUID]) -> list[tuple[UUID, str, str]]:
        """Return id, turn and toolset of these anchors' turns; nothing if the database can't be read."""
        joined = anchors.join(turns, anchors.c.turn_id == turns.c.id)
        joined = joined.join(toolsets, turns.c.toolset_id == toolsets.c.id)
        query = select(turns.c.id, turns.c.content, toolsets.c.content).select_from(joined)
        rows: list[tuple[UUID, str, str]] = []
        try:
            with self._reader.connect() as connection:
                for start in range(0, len(anchor_ids), _MAX_IDS):
                    some = anchor_ids[start : start + _MAX_IDS]
                    found = connection.execute(query.where(anchors.c.id.in_(some)))
                    rows += [(turn_id, turn, toolset) for turn_id, turn, toolset in found]
        except Exception as error:  # described without the driver's message, which may quote values
            _log.warn("conversations can't be looked up: {why}", why=describe(error))
            return []
        return rows


def _dump_turn(turn: Turn) -> str:
    values = asdict(turn)
    try:
        return orjson.dumps(values, default=bytes.decode).decode()
    except TypeError:  # a lone surrogate
        return json.dumps(values, default=bytes.decode)


def _load_turn(text: str) -> Turn:
    values: Any = jsontext.load(text.encode())
    rounds = tuple(
        HiddenRound(
            assistant=each["assistant"].encode(),
            results=each["results"].encode(),
            visible=tuple(map(tuple, each["visible"])),
        )
        for each in values.pop("rounds")
    )
    return Turn(anchors=tuple(values.pop("anchors")), rounds=rounds, **values)


def _id(*parts: str) -> UUID:
    """Return the id that always stands for these parts."""
    text = "".join(f"{len(part)}:{part}" for part in parts)
    return UUID(bytes=sha256(text.encode("utf-8", "surrogatepass")).digest()[:16])
