"""The lanes of a session's time line: conversations that go on at the same time stand beside each other.

A conversation is a chain of interceptions, each of which brings the result of a call that the one before made. An agent
that starts sub-agents waits for them: their conversations begin and end between two interceptions of its own.
"""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from attrs import define, evolve

from .rows import InterceptionDetail


@define
class _Chain:
    """A conversation: its first and its last moment."""

    began: datetime
    ended: datetime
    lane: int = 0


def assign_lanes(steps: Sequence[InterceptionDetail]) -> tuple[list[InterceptionDetail], int]:
    """Return the steps, which are in the order of time, each with its lane; and the number of lanes."""
    chains: list[_Chain] = []
    chain_of: dict[UUID, _Chain] = {}
    for step in steps:
        row = step.interception
        ended = row.ended_at or row.started_at
        chain = chain_of.get(step.parent_id) if step.parent_id is not None else None
        if chain is None:
            chain = _Chain(row.started_at, ended)
            chains.append(chain)
        chain.ended = max(chain.ended, ended)
        chain_of[row.id] = chain
    ends: list[datetime] = []
    for chain in chains:
        free = [number for number, end in enumerate(ends) if end <= chain.began]
        chain.lane = free[0] if free else len(ends)
        ends[chain.lane : chain.lane + 1] = [chain.ended]
    return [evolve(step, lane=chain_of[step.interception.id].lane) for step in steps], len(ends)
