"""The pages of the web view over a real coordinator, and who gets to see or decide anything."""

from __future__ import annotations

import html
import re
from collections.abc import Generator
from pathlib import Path
from typing import Final

import anyio
import pytest
from starlette.testclient import TestClient

from agent_trace import connect_sync
from agent_trace.config import Identity, Settings
from agent_trace.listening import Place, Token
from agent_trace.views.web.app import WebView
from agent_trace.views.web.passes import PASS_SECONDS, Passes, Ticket
from agent_trace_protocol import Actor, AgentName
from support.coordinator import running
from support.scene import HOSTILE, scene

pytestmark = pytest.mark.integration

TOKEN: Final = "t" * 40
BASE: Final = "http://127.0.0.1:8138"


def view_of(root: Path, *, read_only: bool = False) -> WebView:
    actor = Actor.READER if read_only else Actor.USER
    settings = Settings(
        identity=Identity(actor, AgentName("bea")),
        root=root,
        ephemeral=True,
        program="agent-trace web",
    )
    return WebView(settings, Token.of(TOKEN), Place(), 8138, read_only=read_only)


def client_of(view: WebView) -> TestClient:
    return TestClient(view.app, base_url=BASE, follow_redirects=False)


def enter(client: TestClient) -> None:
    """Get in as a browser does that was not given the link."""
    answer = client.post("/enter", data={"token": TOKEN})
    assert answer.status_code == 200


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Generator[Path]:
    root = tmp_path_factory.mktemp("release")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AGENT_TRACE_GENERATED", "0")
        with running(root):
            yield root


@pytest.fixture(scope="module")
def lively(root: Path) -> Path:
    async def make() -> None:
        async with scene(root):
            pass

    anyio.run(make)
    return root


@pytest.fixture(scope="module")
def client(lively: Path) -> Generator[TestClient]:
    with client_of(view_of(lively)) as client:
        enter(client)
        yield client


def mark_of(page: str) -> str:
    found = re.search(r'name="mark" value="([0-9a-f]+)"', page)
    assert found is not None
    return found[1]


# ---- what pages show ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("/", ("1 refused write waits", "2 drafts wait", "importer")),
        ("/sessions", ("was taken over by session", "superseded by")),
        ("/sessions?window=7d", ("planner",)),
        ("/activity", ("came too late for", "was refused")),
        ("/activity?author=reviewer&action=edit", ("checked off",)),
        ("/documents", ("notes/rows.md", "how we write", "reference")),
        ("/documents?prefix=notes/", ("notes/rows.md",)),
        ("/document?path=plan.md", ("Ship the importer", "draft-")),
        ("/document?path=plan.md&revision=1", ("tell support",)),
        ("/history?path=notes/retry-queue.md", ("moved from notes/retry.md",)),
        ("/diff?path=plan.md&old=1&new=3", ("<mark> and sales</mark>", "Who made it so")),
        ("/diff?path=plan.md&new=1", ("nothing",)),
        ("/blame?path=notes/rows.md", ("39 s", "@4", "importer")),
        ("/search?q=importer", ("plan.md",)),
        ("/search?q=importer&history=yes&type=plan", ("plan.md",)),
        ("/search", ("Find documents by words.",)),
        ("/violations", ("is a reference document",)),
        ("/drafts", ("written for @1, now @3",)),
        ("/leases", ("Nobody holds a lease.",)),
        ("/health", ("accepted", "life 1")),
    ],
)
def test_a_page_shows_what_there_is(
    client: TestClient, address: str, shown: tuple[str, ...]
) -> None:
    answer = client.get(address)
    assert answer.status_code == 200
    for text in shown:
        assert text in answer.text


def test_a_session_shows_what_it_did(client: TestClient) -> None:
    found = re.search(r'href="(/session\?id=\w+)"', client.get("/sessions").text)
    assert found is not None
    assert "In substance" in client.get(found[1]).text


@pytest.mark.parametrize(
    "address",
    [
        "/document?path=guide.md",
        "/document?path=guide.md&revision=1",
        "/blame?path=guide.md",
        "/diff?path=guide.md&new=1",
        "/search?q=quoted",
        "/violations",
        "/",
    ],
)
def test_the_text_of_documents_is_never_markup(client: TestClient, address: str) -> None:
    page = client.get(address).text
    assert "<script>document" not in page and "<b>bold" not in page and "\x1b" not in page
    if "path=guide" in address:
        assert html.escape("<b>bold</b>") in page
    assert HOSTILE.startswith("<script>")


def test_what_is_asked_for_is_never_markup(client: TestClient) -> None:
    for address in ("/search?q={}", "/document?path={}", "/activity?author={}", "/x{}"):
        page = client.get(address.format("<script>x</script>")).text
        assert "<script>x" not in page


def test_a_document_is_kept_as_a_file_and_never_run(client: TestClient) -> None:
    answer = client.get("/raw?path=guide.md")
    assert HOSTILE.encode() in answer.content
    assert answer.headers["content-disposition"] == "attachment"
    assert answer.headers["content-security-policy"] == "default-src 'none'; sandbox"
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"


@pytest.mark.parametrize(
    ("address", "status", "said"),
    [
        ("/nowhere", 404, "There is no such page."),
        ("/document?path=no.md", 404, "Next:"),
        ("/document?path=../../etc/passwd", 400, "Next:"),
        ("/document?path=plan.md&revision=99", 404, "Next:"),
        ("/document?path=plan.md&revision=x", 400, "revision is a number"),
        ("/session?id=nobody", 404, "there is no session"),
        ("/sessions?window=9y", 400, "a window is one of"),
        ("/violation?id=violation-999", 404, "violation-999"),
        ("/draft?id=draft-999", 404, "draft-999"),
        ("/search?q=%22", 200, 'role="alert"'),
        ("/static/nothing.css", 404, ""),
        ("/static/%2e%2e/app.py", 404, ""),
    ],
)
def test_a_page_that_can_not_be_shown_says_why(
    client: TestClient, address: str, status: int, said: str
) -> None:
    answer = client.get(address)
    assert (answer.status_code, said in answer.text) == (status, True)


def test_every_answer_forbids_scripts_of_others_and_frames(client: TestClient) -> None:
    for address in ("/", "/nowhere", "/static/view.css", "/enter"):
        answer = client.get(address)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert " style=" not in answer.text and "<script>" not in answer.text
    assert client.get("/").headers["cache-control"] == "no-store"


# ---- who gets in --------------------------------------------------------------------------------


def test_nobody_gets_in_without_a_pass_or_the_token(lively: Path) -> None:
    view = view_of(lively)
    with client_of(view) as client:
        for address in ("/", "/events", "/raw?path=plan.md", "/nowhere"):
            answer = client.get(address)
            assert answer.status_code == 401
            assert "importer" not in answer.text and TOKEN not in answer.text
        assert client.post("/violation/discard", data={"id": "x"}).status_code == 401
        assert client.get("/static/view.css").status_code == 200
        bearer = {"Authorization": f"Bearer {TOKEN}"}
        assert client.get("/", headers=bearer).status_code == 200
        assert client.get("/", headers={"Authorization": f"Basic {TOKEN}"}).status_code == 401
        assert client.post("/enter", data={"token": "wrong"}).status_code == 403
        assert client.get("/").status_code == 401


def test_the_link_lets_one_browser_in_once(lively: Path) -> None:
    view = view_of(lively)
    with client_of(view) as client:
        link = f"/enter?ticket={view.ticket.text}"
        ahead = client.get(link, headers={"Sec-Purpose": "prefetch"})
        assert (ahead.status_code, "set-cookie" in ahead.headers) == (403, False)
        answer = client.get(link)
        cookie = answer.headers["set-cookie"]
        assert cookie.startswith("agent-trace-8138=")
        assert "HttpOnly" in cookie and "SameSite=strict" in cookie
        assert client.get("/").status_code == 200
        client.cookies.clear()
        again = client.get(link)
        assert (again.status_code, "has been used" in again.text) == (403, True)
        assert client.get("/").status_code == 401


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 421),
        ({"Host": "127.0.0.1.evil.example:8138"}, 421),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": BASE}, 200),
    ],
)
def test_pages_of_others_get_nothing_even_with_a_pass(
    client: TestClient, headers: dict[str, str], status: int
) -> None:
    assert client.get("/health", headers=headers).status_code == status


def test_passes_end_and_can_not_be_made_up() -> None:
    passes = Passes(Token.of(TOKEN))
    given = passes.issue(1000.0)
    assert passes.admits(given, 1000.0 + PASS_SECONDS - 1)
    assert not passes.admits(given, 1000.0 + PASS_SECONDS)
    assert not Passes(Token.of("x" * 40)).admits(given, 1000.0)
    later = str(10**12) + given[given.index(".") :]
    for wrong in (later, given[:-1], "", ".", "..", "a.b.c", "é.b.c", f"{given}0"):
        assert not passes.admits(wrong, 1000.0)
    mark = passes.mark(given)
    assert passes.marked(mark, given)
    assert not passes.marked(mark, passes.issue(1000.0)) and not passes.marked("", given)
    ticket = Ticket()
    assert [ticket.use(""), ticket.use(ticket.text), ticket.use(ticket.text)] == [
        False,
        True,
        False,
    ]


# ---- deciding -----------------------------------------------------------------------------------


def seen_in(page: str) -> str:
    """Return the revision that the forms of a page are about."""
    (seen,) = set(re.findall(r'name="seen" value="(\d+)"', page))
    return str(seen)


def refused_write(root: Path, name: str, before: str = "") -> str:
    """Have an agent try to change a reference document, and return the violation's id."""
    path = f"refs/{name}.md"
    with connect_sync(root, user="ada") as ada:
        ada.write(path, f"{before}old\n", type="reference")
        with connect_sync(root, agent=name) as agent, pytest.raises(Exception, match="reference"):
            agent.write(path, f"{before}new\n")
        return ada.violations()[0].id


def test_a_decision_needs_its_box_ticked_and_a_form_of_this_browser(
    root: Path, client: TestClient
) -> None:
    id = refused_write(root, "careless")
    page = client.get(f"/violation?id={id}").text
    assert 'class="text old"' in page
    form = {"id": id, "sure": "yes", "mark": mark_of(page), "seen": seen_in(page)}
    origin = {"Origin": BASE}
    decide = "/violation/apply"
    assert client.post(decide, data=form).status_code == 403
    assert client.post(decide, data=form | {"mark": "0" * 64}, headers=origin).status_code == 403
    evil = {"Origin": "https://evil.example"}
    assert client.post(decide, data=form, headers=evil).status_code == 403
    large = form | {"message": "x" * 20_000}
    assert client.post(decide, data=large, headers=origin).status_code == 413
    unsure = client.post(decide, data={**form, "sure": ""}, headers=origin)
    assert (unsure.status_code, "nothing was done" in unsure.text) == (400, True)
    assert client.get(decide).status_code == 405
    with connect_sync(root, user="ada") as ada:
        assert ada.read("refs/careless.md").text == "old\n"

    done = client.post(decide, data=form, headers=origin)
    assert done.status_code == 303
    assert "applied refs/careless.md@2" in client.get(done.headers["location"]).text
    with connect_sync(root, user="ada") as ada:
        assert ada.read("refs/careless.md").text == "new\n"
        (last,) = ada.log("refs/careless.md", limit=1)
    assert last.author == "bea"
    # Once is enough: the same form again changes nothing, and says so.
    assert client.post(decide, data=form, headers=origin).status_code == 404


def test_a_refused_write_is_applied_to_what_was_seen_or_not_at_all(
    root: Path, client: TestClient
) -> None:
    id, path, origin = refused_write(root, "late", "one\n\n\n"), "refs/late.md", {"Origin": BASE}

    def form(page: str) -> dict[str, str]:
        return {"id": id, "sure": "yes", "mark": mark_of(page), "seen": seen_in(page)}

    before = client.get(f"/violation?id={id}").text
    assert "It was written for revision" not in before
    with connect_sync(root, user="ada") as ada:
        ada.edit(path, "one", "ONE")
        answer = client.post("/violation/apply", data=form(before), headers=origin)
        assert (answer.status_code, "revision 2, not 1" in answer.text) == (409, True)
        assert ada.read(path).revision == 2
        # Looked at again, it says so, and is joined with what has changed.
        page = client.get(f"/violation?id={id}").text
        assert "written for revision 1, and the document is at 2" in page
        for wrong in ("", "-1", "x", "9" * 30):
            answer = client.post(
                "/violation/apply", data=form(page) | {"seen": wrong}, headers=origin
            )
            assert answer.status_code == 400
        assert client.post("/violation/apply", data=form(page), headers=origin).status_code == 303
        assert ada.read(path).text == "ONE\n\n\nnew\n"


def test_a_refused_text_and_a_draft_are_thrown_away(root: Path, client: TestClient) -> None:
    id = refused_write(root, "hasty")
    origin = {"Origin": BASE}
    mark = mark_of(client.get(f"/violation?id={id}").text)
    form = {"id": id, "sure": "yes", "mark": mark}
    assert client.post("/violation/discard", data=form, headers=origin).status_code == 303
    assert client.get(f"/violation?id={id}").status_code == 404
    with connect_sync(root, user="ada") as ada:
        draft = ada.drafts()[0].id
    assert client.get(f"/draft?id={draft}").status_code == 200
    form = {"id": draft, "sure": "yes", "mark": mark}
    assert client.post("/draft/discard", data=form, headers=origin).status_code == 303
    assert client.get(f"/draft?id={draft}").status_code == 404


def test_a_draft_that_merges_is_accepted(root: Path, client: TestClient) -> None:
    with connect_sync(root, user="ada") as ada:
        ada.write("two.md", "one\n\n\ntwo\n")
        ada.edit("two.md", "one", "ONE")
        with pytest.raises(Exception, match="revision 2, not 1"):
            ada.write("two.md", "one\n\n\nTWO\n", if_revision=1)
        draft = ada.drafts()[0].id
    page = client.get(f"/draft?id={draft}").text
    form = {"id": draft, "sure": "yes", "mark": mark_of(page), "seen": seen_in(page)}
    origin = {"Origin": BASE}
    outdated = client.post("/draft/accept", data=form | {"seen": "1"}, headers=origin)
    assert (outdated.status_code, "nothing was done" in outdated.text) == (409, True)
    done = client.post("/draft/accept", data=form, headers=origin)
    assert done.status_code == 303
    with connect_sync(root, user="ada") as ada:
        assert ada.read("two.md").text == "ONE\n\n\nTWO\n"


def test_a_read_only_view_decides_nothing(root: Path) -> None:
    id = refused_write(root, "eager")
    with client_of(view_of(root, read_only=True)) as client:
        enter(client)
        assert client.get("/").status_code == 200
        assert "read-only" in client.get("/violations").text
        form = {"id": id, "sure": "yes"}
        bearer = {"Authorization": f"Bearer {TOKEN}", "Origin": BASE}
        for headers in ({"Origin": BASE}, bearer):
            answer = client.post("/violation/discard", data=form, headers=headers)
            assert (answer.status_code, answer.text) == (403, "this view is read-only")
    with connect_sync(root, user="ada") as ada:
        assert ada.violations()[0].id == id


def test_without_a_coordinator_a_page_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent_trace.views.web.link.PATIENCE_SECONDS", 0.5)
    with running(tmp_path) as coordinator:
        coordinator.end()
        settings = Settings(
            identity=Identity(Actor.USER, AgentName("bea")), root=tmp_path, autostart=False
        )
        view = WebView(settings, Token.of(TOKEN), Place(), 8138)
        with client_of(view) as client:
            answer = client.get("/", headers={"Authorization": f"Bearer {TOKEN}"})
    assert answer.status_code == 503
    assert "The coordinator can not be reached" in answer.text
