"""What is remembered of conversations, in the recorder's database: any process on it finds it again."""

import json
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any
from uuid import UUID

import orjson
from attrs import asdict, evolve
from sqlalchemy import Connection, select
from twisted.internet.defer import Deferred, succeed
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from zope.interface import implementer

from ..interfaces import IMemory
from ..record.database import describe, open_reader
from ..record.ledger import utc_now
from ..record.recorder import SQLRecorder
from ..record.records import AnchorRecord, ToolsetRecord, TurnRecord
from ..record.schema import anchors, toolsets, turns
from ..record.values import new_id
from ..wire.rounds import HiddenRound, Turn
from .memory import Remembered, ShortMemory
from .toolset import Toolset

_log = Logger()
_MOST_AT_ONCE = 500
"""Anchors in one query; a long history asks several times."""


@implementer(IMemory)
class SQLMemory:
    """Writes with the recorder, so that an answer and what is remembered of it are durable together.

    What this process remembers itself it needn't look up; while the database is away, that is all there is.
    """

    def __init__(self, url: str, recorder: SQLRecorder, reactor: Any) -> None:
        self._reader = open_reader(url)
        self._recorder = recorder
        self._reactor = reactor
        self._recent = ShortMemory()

    def remember(self, remembered: Remembered) -> "Deferred[None]":
        """Fires when it is durable."""
        toolset_id, turn_id, now = _id(remembered.toolset.digest), new_id(), utc_now()
        content = json.dumps(remembered.toolset.dump())
        self._recent.remember(remembered)
        return self._recorder.record_all(
            [
                ToolsetRecord(id=toolset_id, digest=remembered.toolset.digest, content=content, created_at=now),
                TurnRecord(
                    id=turn_id,
                    initiator_id=remembered.actor_id,
                    provider_name=remembered.provider,
                    toolset_id=toolset_id,
                    content=_dump(remembered.turn),
                    created_at=now,
                ),
                *[
                    AnchorRecord(
                        id=_id(remembered.actor_id, remembered.provider, anchor), turn_id=turn_id, created_at=now
                    )
                    for anchor in remembered.turn.anchors
                ],
            ]
        )

    def recall(self, actor_id: str, provider: str, wanted: Sequence[str]) -> "Deferred[list[Remembered]]":
        """The oldest first."""
        if not wanted:
            return succeed([])
        return Deferred.fromCoroutine(self._recall(actor_id, provider, wanted))

    async def _recall(self, actor_id: str, provider: str, wanted: Sequence[str]) -> list[Remembered]:
        recent = await self._recent.recall(actor_id, provider, wanted)
        known = {anchor for one in recent for anchor in one.turn.anchors}
        missing = {_id(actor_id, provider, anchor): anchor for anchor in wanted if anchor not in known}
        if not missing:
            return recent
        pool = self._reactor.getThreadPool()
        found: list[Remembered] = await deferToThreadPool(self._reactor, pool, self._look_up, missing)
        return [evolve(one, actor_id=actor_id, provider=provider) for one in found] + recent

    def _look_up(self, missing: Mapping[UUID, str]) -> list[Remembered]:
        """On a thread: what the database has."""
        ids = list(missing)
        try:
            with self._reader.connect() as connection:
                steps = range(0, len(ids), _MOST_AT_ONCE)
                found = [row for start in steps for row in _query(connection, ids[start : start + _MOST_AT_ONCE])]
        except Exception as error:  # a driver's message may quote values
            _log.warn("conversations can't be looked up: {why}", why=describe(error))
            return []
        return _as_remembered(found, missing)


def _query(connection: Connection, ids: Sequence[UUID]) -> Sequence[Any]:
    joined = anchors.join(turns, anchors.c.turn_id == turns.c.id).join(toolsets, turns.c.toolset_id == toolsets.c.id)
    columns = (anchors.c.id, turns.c.id, turns.c.content, toolsets.c.content)
    return connection.execute(select(*columns).select_from(joined).where(anchors.c.id.in_(ids))).all()


def _as_remembered(found: Sequence[Any], missing: Mapping[UUID, str]) -> list[Remembered]:
    """Each turn once, in the order of time, which is that of their ids, with the anchors that led to it."""
    by_turn: dict[UUID, tuple[str, str, list[str]]] = {}
    for anchor_id, turn_id, turn, toolset in found:
        by_turn.setdefault(turn_id, (turn, toolset, []))[2].append(missing[anchor_id])
    tools = {toolset: Toolset.load(json.loads(toolset)) for _, toolset, _ in by_turn.values()}
    return [Remembered("", "", tools[toolset], _load(turn)) for _, (turn, toolset, _) in sorted(by_turn.items())]


def _dump(turn: Turn) -> str:
    return orjson.dumps(asdict(turn), default=bytes.decode).decode()


def _load(text: str) -> Turn:
    values = orjson.loads(text)
    rounds = [_load_round(**round_) for round_ in values.pop("rounds")]
    anchors_ = tuple(values.pop("anchors"))
    return Turn(anchors=anchors_, rounds=tuple(rounds), **values)


def _load_round(assistant: str, results: str, visible: Sequence[Sequence[str]]) -> HiddenRound:
    return HiddenRound(assistant.encode(), results.encode(), tuple(map(tuple, visible)))


def _id(*parts: str) -> UUID:
    """An id that is the same whenever it is made of the same."""
    text = "".join(f"{len(part)}:{part}" for part in parts)
    return UUID(bytes=sha256(text.encode("utf-8", "surrogatepass")).digest()[:16])
