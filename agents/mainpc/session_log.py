"""The sessions of `session_memory` behind the names that users' programs give to their conversations.

A terminal or a page may name its conversation as it likes: when `session_memory` has no session of that id, one is
opened for the name. Which session a name stands for is kept in the agent's state, so a conversation goes on after a
restart.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import Any
from uuid import uuid4

from mesh import Agent, InvalidArgument, MeshError

_KEPT = 1000


class SessionLog:
    """Writes turns to sessions, by their id or by the name of a conversation; calls and state are those of `agent`."""

    def __init__(self, agent: Agent, timeout_s: float) -> None:
        self._agent = agent
        self._timeout_s = timeout_s
        self._opening = asyncio.Lock()
        self._named: OrderedDict[str, str] | None = None

    async def begin(self, user: str) -> str:
        """Return the id of a new session; while none can be opened, a name under which one is opened later."""
        try:
            return await self._open(user, {})
        except MeshError as error:
            await self._agent.report(error, severity="warning", user=user, lost="a session, until it can be opened")
            return uuid4().hex

    async def add(self, user: str, session: str, role: str, content: str, metadata: dict[str, Any]) -> None:
        """Add a turn to a session of `user`; raises the error of the call when it cannot be written."""
        named = await self._names()
        known = named.get(_key(user, session), session)
        try:
            await self._write(known, role, content, metadata)
        except InvalidArgument as error:
            if error.details.get("path") != "session_id":
                raise
            await self._write(await self._open_named(user, session, gone=known), role, content, metadata)

    async def _write(self, session: str, role: str, content: str, metadata: dict[str, Any]) -> None:
        await self._agent.request(
            "session_memory.add_interaction", session_id=session, role=role, content=content, metadata=metadata,
        )

    async def _open(self, user: str, metadata: dict[str, Any]) -> str:
        opened = await self._agent.request(
            "session_memory.create_session", user_id=user, metadata=metadata, timeout=self._timeout_s,
        )
        return str(opened["session_id"])

    async def _open_named(self, user: str, name: str, *, gone: str) -> str:
        """Return the session that `name` stands for other than `gone`, opened now if need be."""
        async with self._opening:  # the first turns of a conversation make one session between them
            named = await self._names()
            known = named.get(_key(user, name))
            if known is not None and known != gone:
                return known
            session = named[_key(user, name)] = await self._open(user, {"name": name})
            while len(named) > _KEPT:
                named.popitem(last=False)
            await self._agent.save_state({"sessions": dict(named)})
            return session

    async def _names(self) -> OrderedDict[str, str]:
        if self._named is None:
            state = await self._agent.get_latest_state() or {}
            self._named = self._named or OrderedDict(state.get("sessions", {}))
        return self._named


def _key(user: str, name: str) -> str:
    return f"{user}\n{name}"
