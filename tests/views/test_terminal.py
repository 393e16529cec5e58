"""The view in a terminal: driven by keys and the mouse, on a real coordinator."""

from __future__ import annotations

import signal
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import anyio
import pytest
from textual.pilot import Pilot

from agent_trace import connect
from agent_trace.client import Agent
from agent_trace.config import Settings, find_identity
from agent_trace.views.terminal.app import View
from agent_trace.views.terminal.details import Detail
from agent_trace_protocol import Conflict, PermissionDenied, SessionError
from support.coordinator import Coordinator, running

pytestmark = pytest.mark.integration

PATIENCE_SECONDS = 15


@pytest.fixture
def anyio_backend() -> str:
    """Textual is made for asyncio alone."""
    return "asyncio"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Coordinator]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AGENT_TRACE_GENERATED", "0")
        with running(tmp_path_factory.mktemp("store")) as started:
            yield started


class Watched(View):
    """A view that says when it has drawn something."""

    def __init__(self, settings: Settings, **options: bool) -> None:
        super().__init__(settings, **options)
        self.drawn = anyio.Event()

    def draw_head(self) -> None:
        super().draw_head()
        self.drawn.set()

    def show_detail(self, detail: Detail, *, afresh: bool) -> None:
        super().show_detail(detail, afresh=afresh)
        self.drawn.set()


class Seat:
    """Somebody before the view."""

    def __init__(self, view: Watched, pilot: Pilot[None]) -> None:
        self.view = view
        self.pilot = pilot

    @property
    def screen(self) -> str:
        """All that is on the screen, after the last filter."""
        strips = cast("Any", self.view.screen)._compositor.render_strips()
        return "\n".join(strip.text for strip in strips)

    async def sees(self, *texts: str, without: str = "\0") -> None:
        """Wait until the texts are on the screen."""
        await self.until(
            lambda: all(each in self.screen for each in texts) and without not in self.screen, texts
        )

    async def until(self, condition: Callable[[], bool], what: object = "") -> None:
        with anyio.move_on_after(PATIENCE_SECONDS):
            while True:
                self.view.drawn = anyio.Event()
                await self.pilot.pause()
                if condition():
                    return
                await self.view.drawn.wait()
        raise AssertionError(f"never seen: {what}\n{self.screen}")

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)


@asynccontextmanager
async def opened(
    root: Path, *, reader: str | None = None, size: tuple[int, int] = (80, 24), **options: bool
) -> AsyncGenerator[Seat, None]:
    identity = find_identity(user=None if reader else "ana", reader=reader)
    settings = Settings(identity=identity, root=root, ephemeral=True, autostart=False)
    view = Watched(settings, **options)
    async with view.run_test(size=size) as pilot:
        seat = Seat(view, pilot)
        await seat.sees("connected")
        yield seat


@asynccontextmanager
async def planner(root: Path, name: str = "planner") -> AsyncGenerator[Agent, None]:
    async with connect(root, agent=name) as agent:
        yield agent


async def test_everything_is_reached_by_keys(served: Coordinator) -> None:
    async with planner(served.root) as agent, opened(served.root) as seat:
        await agent.write("plans/keys.md", "# Keys\n\n- [ ] first\n", type="plan")
        await agent.append("plans/keys.md", "- [ ] second\n", message="one more")
        await seat.sees("plans/keys.md", "@2 planner")
        await seat.press("slash", *"keys", "enter")
        await seat.sees("documents with 'keys'", "- [ ] second")
        await seat.press("h")
        await seat.sees("history of plans/keys.md", "@1", "@2", '"one more"')
        await seat.press("tab", "enter")
        await seat.sees("plans/keys.md@2 against @1", "+- [ ] second")
        await seat.press("escape", "down", "enter")
        await seat.sees("plans/keys.md@1 against @0", "+# Keys")
        await seat.press("i")
        await seat.sees("sessions that touched it", "planner")
        await seat.press("2")
        await seat.sees("planner added to plans/keys.md@2")
        await seat.press("right")
        await seat.sees("heartbeat", "agent planner")
        lease = await agent.acquire("plans/**")
        await seat.press("right")
        await seat.sees("plans/**", "held by planner", f"token    {lease.token}")
        await seat.press("6")
        await seat.sees("briefing of ana", "Keys")
        await seat.press("question_mark")
        await seat.sees("nothing is stopped by it")
        await seat.press("escape", "1", "escape")
        await seat.sees("documents", without="with 'keys'")


async def test_a_change_and_who_made_it_appear_by_themselves(served: Coordinator) -> None:
    async with opened(served.root) as seat, planner(served.root, "scribe") as agent:
        await agent.write("live.md", "before\n")
        await seat.press("slash", *"live.md", "enter")
        await seat.sees("live.md@1 by scribe", "before")
        await agent.edit("live.md", "before", "after")
        await seat.sees("live.md@2 by scribe", "after", without="before")
        await agent.move("live.md", "moved-live.md")
        await seat.sees("moved-live.md@3", "after")
        await agent.delete("moved-live.md")
        await seat.sees("no documents", without="moved")


async def test_it_fits_every_size(served: Coordinator) -> None:
    async with planner(served.root) as agent, opened(served.root) as seat:
        await agent.write("a-size.md", "word " * 60 + "end\n")
        await seat.sees("a-size.md")
        for width, height in ((200, 60), (120, 30), (80, 24), (40, 10), (20, 6), (20, 4)):
            await seat.pilot.resize_terminal(width, height)
            await seat.sees("agent-trace")
            lines = seat.screen.split("\n")
            assert (len(lines), {len(line) for line in lines}) == (height, {width})
        await seat.pilot.resize_terminal(200, 60)
        # There is room for what happens beside what is chosen.
        await seat.sees("planner created a-size.md@1", "agent planner", "documents")
        await seat.pilot.resize_terminal(80, 24)
        await seat.press("slash", *"a-size", "enter", "enter")
        await seat.sees("end", without="documents with")


@pytest.mark.parametrize("size", [(40, 10), (26, 6)])
async def test_in_a_small_window_there_is_one_pane_and_it_has_rows(
    size: tuple[int, int], served: Coordinator
) -> None:
    async with planner(served.root) as agent, opened(served.root, size=size) as seat:
        await agent.write("zz.md", "closely\n")
        await seat.press("slash", *"zz.md", "enter")
        await seat.sees("zz.md", without="closely")
        await seat.press("c")
        await seat.sees("closely", without="@1 planner")
        await seat.press("escape")
        await seat.sees("zz.md", without="closely")
        await seat.press("4")
        await seat.sees("4 leases", "no leases are held"[: size[0] - 2])
        await seat.pilot.resize_terminal(80, 24)
        await seat.press("1")
        await seat.sees("zz.md", "closely")
        await agent.delete("zz.md")


async def test_ascii_means_ascii_whatever_agents_write(served: Coordinator) -> None:
    text = "caf\u00e9 \u6f22| \x1b[31mred [b]x[/b]\n"
    async with planner(served.root) as agent, opened(served.root, ascii_only=True) as seat:
        await agent.write("ascii.md", text, message="[red]not[/red] na\u00efve")
        await seat.press("slash", *"ascii.md", "enter")
        await seat.sees("cafe ??| ?[31mred [b]x[/b]")
        for key in ("h", "2", "3", "4", "5", "6", "question_mark", "escape", "1"):
            await seat.press(key)
            await seat.pilot.pause()
            assert seat.screen.isascii()
        await seat.press("2")
        await seat.sees("[red]not[/red] naive")
        await seat.pilot.resize_terminal(200, 60)
        await seat.sees("ascii.md")
        assert seat.screen.isascii()


async def test_who_only_looks_changes_nothing(served: Coordinator) -> None:
    async with connect(served.root, user="ana") as user, planner(served.root, "eve") as agent:
        await user.write("only.md", "kept\n", type="reference")
        with pytest.raises(PermissionDenied):
            await agent.write("only.md", "other\n")
        await user.ping()
        before = user.seq
        async with opened(served.root, read_only=True) as seat:
            await seat.press("5")
            await seat.sees("eve tried to put only.md")
            for section, keys in (("5", "ax"), ("3", "e"), ("1", "u")):
                await seat.press(section)
                for key in keys:
                    await seat.press(key)
                    await seat.sees("nothing can be changed from here")
        async with opened(served.root, reader="guest") as seat:
            await seat.sees("read-only", "only.md")
            await seat.press("1", "u")
            await seat.sees("nothing can be changed from here")
        await user.ping()
        assert user.seq == before
        await user.discard_violation((await user.violations())[0].id)


async def test_a_user_decides_after_a_question(served: Coordinator) -> None:
    async with connect(served.root, user="ana") as user, planner(served.root, "bob") as agent:
        await user.write("rules.md", "first\n", type="reference")
        with pytest.raises(PermissionDenied):
            await agent.write("rules.md", "second\n")
        async with opened(served.root) as seat:
            await seat.press("5")
            await seat.sees("bob tried to put rules.md", "+second")
            await seat.press("a")
            await seat.sees("as bob tried?")
            await seat.press("n")
            await seat.sees("nothing was done")
            await seat.press("a")
            await seat.sees("as bob tried?")
            await seat.press("y")
            await seat.sees("rules.md@2", "nothing waits for a decision")
            assert (await user.read("rules.md")).text == "second\n"

            await agent.write("draft.md", "one\n\ntwo\n")
            await user.edit("draft.md", "one", "ONE")
            with pytest.raises(Conflict):
                await agent.write("draft.md", "one\n\nTWO\n", if_revision=1)
            await seat.sees("bob wrote draft.md for @1, now @2", "merges")
            await seat.press("a")
            await seat.sees("joined with")
            await seat.pilot.click("#yes")
            await seat.sees("draft.md@3", "nothing waits for a decision")
            assert (await user.read("draft.md")).text == "ONE\n\nTWO\n"

            await seat.press("1", "slash", *"rules.md", "enter", "u")
            await seat.sees("which agent")
            await seat.press(*"bob", "enter")
            await seat.sees("rules.md is unlocked for bob")
            await agent.write("rules.md", "third\n")

            await seat.press("3")
            await seat.sees("agent bob")
            listing = cast("Any", seat.view.query_one("#sessions"))
            assert listing.choose(agent.session_id)
            await seat.press("e")
            await seat.sees("Evict agent bob")
            await seat.press("enter")
            await seat.sees("agent bob is evicted")
            with pytest.raises(SessionError):
                await agent.ping()


async def test_the_mouse_chooses_and_opens(served: Coordinator) -> None:
    async with planner(served.root) as agent, opened(served.root) as seat:
        await agent.write("mouse-a.md", "first of two\n")
        await agent.write("mouse-b.md", "second of two\n")
        await seat.press("slash", *"mouse-", "enter")
        await seat.sees("first of two")
        await seat.pilot.click("#documents", offset=(5, 3))
        await seat.sees("second of two")
        await seat.pilot.double_click("#documents", offset=(5, 2))
        await seat.sees("first of two", without="documents with")
        await seat.press("escape")
        await seat.pilot.click("#tab-activity")
        await seat.sees("planner created mouse-b.md@1")


async def test_a_coordinator_that_dies_is_missed_and_found_again(tmp_path: Path) -> None:
    with running(tmp_path / "store") as coordinator:
        async with opened(coordinator.root) as seat:
            async with planner(coordinator.root) as agent:
                await agent.write("before.md", "kept\n")
                await seat.sees("before.md")
            coordinator.end(signal.SIGKILL)
            await seat.sees("no coordinator", "before.md")
            await anyio.to_thread.run_sync(coordinator.start)
            await seat.sees(" connected")
            async with planner(coordinator.root) as agent:
                await agent.write("after.md", "new\n")
            await seat.sees("before.md", "after.md")


async def test_a_view_without_a_coordinator_says_why_it_ends(tmp_path: Path) -> None:
    with running(tmp_path / "store") as coordinator:
        root = coordinator.root
    settings = Settings(identity=find_identity(user="ana"), root=root, autostart=False)
    view = View(settings)
    with anyio.fail_after(PATIENCE_SECONDS):
        await view.run_async(headless=True)
    assert view.failure is not None
    assert "no coordinator is running" in view.failure.message
