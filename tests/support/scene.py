"""A store in which something is going on: agents, a conflict, a takeover, a refusal.

Made through the client library and a real coordinator, for the tests of views and for pictures.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import anyio

from agent_trace import Agent, AgentTraceError, connect

__all__ = ["HOSTILE", "Scene", "scene"]

HOSTILE: Final = "<script>document.title='owned'</script><b>bold</b> & \"quoted\" \x1b[31m"
"""Text of a document that must be shown, and never obeyed."""

PLAN: Final = """# Release 1.4

Ship the importer without losing a single row.

## Open
- [ ] measure the importer with 10 million rows
- [ ] decide about the retry queue
- [ ] write the migration notes
- [ ] tell support

## Done
- [x] agree on the format
"""


@dataclass
class Scene:
    """What is there."""

    planner: Agent
    reviewer: Agent
    importer: Agent
    ada: Agent


@asynccontextmanager
async def scene(root: Path, *, pause_seconds: float = 0.0) -> AsyncGenerator[Scene]:
    """Make the store lively, and keep its agents connected for the length of a block.

    Args:
        pause_seconds: between two things that happen, so that a picture shows them apart.
    """

    async def pause() -> None:
        if pause_seconds:
            await anyio.sleep(pause_seconds)

    async with AsyncExitStack() as stack:

        async def enter(
            name: str, program: str, model: str = "", *, takeover: bool = False
        ) -> Agent:
            connected = connect(root, agent=name, program=program, model=model, takeover=takeover)
            return await stack.enter_async_context(connected)

        ada = await stack.enter_async_context(connect(root, user="ada", program="zed"))
        await ada.write("guide.md", f"# House style\n\n{HOSTILE}\n", type="reference")
        await ada.describe("guide.md", "how we write")
        await pause()
        planner = await enter("planner", "claude-code", "opus")
        await planner.write("plan.md", PLAN, type="plan", message="what the release needs")
        await pause()
        first = await enter("importer", "codex")
        await first.append("notes/rows.md", "# Rows\n\n1 million rows: 41 s\n")
        await pause()
        reviewer = await enter("reviewer", "gemini-cli")
        await reviewer.edit("plan.md", "[ ] measure", "[x] measure", message="41 s is enough")
        await pause()
        await first.append("notes/rows.md", "10 million rows: 6 min 50 s\n")
        await pause()
        importer = await enter("importer", "codex", takeover=True)
        await importer.acquire("notes/**")
        await pause()
        await planner.edit("plan.md", "- [ ] tell support", "- [ ] tell support and sales")
        await importer.append("notes/rows.md", "the index costs 20 s of it\n")
        await pause()
        await reviewer.write("notes/retry.md", "# Retry queue\n\nThree tries, then a person.\n")
        for text in ("late", "later"):
            try:
                changed = PLAN.replace("the retry queue", f"the retry queue ({text})")
                await planner.write("plan.md", changed, if_revision=1)
            except AgentTraceError:
                # That is what the scene is about.
                pass
            await pause()
        try:
            await importer.edit("guide.md", "House style", "My style")
        except AgentTraceError:
            pass
        await pause()
        await ada.steer("The importer comes first; the retry queue can wait for 1.5.")
        await reviewer.acquire("guides/*.md")
        await planner.move("notes/retry.md", "notes/retry-queue.md")
        await pause()
        await importer.edit("notes/rows.md", "41 s", "39 s", message="measured again")
        yield Scene(planner, reviewer, importer, ada)
