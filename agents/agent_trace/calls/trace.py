"""Where things go and stand: steering statements, and the documents that are generated."""

from __future__ import annotations

from agent_trace_protocol import (
    Done,
    DropStatement,
    ListStatements,
    RefreshDocuments,
    StatementInfo,
    StatementList,
    Steer,
)

from .base import Calls

__all__ = ["Trace"]


class Trace(Calls):
    """What the generated documents are looked after with; `read` reads them, always fresh."""

    async def refresh(self) -> None:
        """Have the generated documents written now, as far as they have changed.

        By themselves they are written within half a second; reading them through the coordinator
        always gives what is true now.

        Raises:
            InvalidRequest: this store generates no documents.
        """
        await self._ask(RefreshDocuments(), Done)

    async def steer(self, text: str, *, replaces: str = "") -> StatementInfo:
        """Say where things go: it stands in `context.md` until it is superseded or dropped.

        Args:
            text: one line.
            replaces: the id of the statement that this one supersedes, such as `update-17`.

        Raises:
            PermissionDenied: only users may.
            NotFound: no statement of that id stands.
        """
        answer = await self._ask(Steer(text, replaces), StatementList)
        return answer.statements[0]

    async def drop_statement(self, id: str) -> None:
        """Let a steering statement stand no more. Users only.

        Raises:
            NotFound: no statement of that id stands.
        """
        await self._ask(DropStatement(id), Done)

    async def statements(self) -> tuple[StatementInfo, ...]:
        """Return the steering statements that stand, oldest first."""
        return (await self._ask(ListStatements(), StatementList)).statements
