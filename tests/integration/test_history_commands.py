"""The commands about history and about keeping documents, on a real store."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from agent_trace.cli.main import cli
from support.coordinator import running

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Generator[Path]:
    with pytest.MonkeyPatch.context() as environment:
        # What the coordinator itself would write between two operations.
        environment.setenv("AGENT_TRACE_GENERATED", "0")
        with running(tmp_path_factory.mktemp("commands").resolve()) as served:
            yield served.root


@pytest.fixture
def run(root: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Run]:
    for name in ("AGENT_TRACE_AGENT", "AGENT_TRACE_STORE", "AGENT_TRACE_NO_START"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(root)
    yield Run()


class Run:
    def __call__(self, *arguments: str, code: int = 0, input: str | None = None) -> Result:
        result = CliRunner().invoke(cli, list(arguments), input=input)
        assert result.exit_code == code, result.output
        return result

    def json(self, *arguments: str) -> Any:
        return json.loads(self(*arguments, "--json").stdout)

    def lines(self, *arguments: str) -> list[dict[str, object]]:
        return [json.loads(line) for line in self(*arguments, "--json").stdout.splitlines()]


def test_a_revision_is_named_in_every_way_that_people_try(root: Path, run: Run) -> None:
    run("write", "forms.md", "--text", "one\ntwo")
    run("append", "forms.md", "--text", "three")
    for command in ("read", "show"):
        forms = [("forms.md@1",), ("forms.md", "1"), ("forms.md", "--revision", "1")]
        first, *others = [run(command, *form).stdout for form in forms]
        assert first.endswith("one\ntwo\n") and others == [first, first]
    change = run("diff", "forms.md", "1", "2").stdout
    assert change.endswith("+three\n")
    for form in (("forms.md@1", "forms.md@2"), ("forms.md", "1..2"), ("forms.md@1..2",)):
        assert run("diff", *form).stdout == change
    assert run("diff", "forms.md@1").stdout == change
    lines = run("blame", "forms.md", "-L", "2,3").stdout
    assert run("blame", "forms.md:2-3").stdout == run("blame", "forms.md:2,").stdout == lines
    assert run("blame", "forms.md@1:2").stdout == run("blame", "forms.md", "1", "-L", "2").stdout
    assert run("restore", "forms.md", "1").stdout.startswith("restore forms.md@3")

    for arguments, said in (
        (("read", "forms.md@1", "2"), "name the revision once"),
        (("show", "forms.md", "1", "--revision", "1"), "name the revision once"),
        (("read", "forms.md@0"), "revisions count from 1: forms.md@1 is the first"),
        (("diff", "forms.md", "other.md"), "'other.md' is no revision of forms.md"),
        (("diff", "forms.md@1..2", "forms.md@2"), "two revisions are compared"),
        (("blame", "forms.md:1", "-L", "2"), "name the lines once"),
        (("restore", "forms.md"), "say which revision: forms.md@N"),
    ):
        assert said in run(*arguments, code=2).stderr
    assert "PATH@N, for revision N, is for read" in run("info", "forms.md@1", code=1).stderr


def test_add_says_what_it_took_each_file_for(root: Path, run: Run) -> None:
    (root / "todo.md").write_text("- [ ] one\n")
    (root / "law.md").write_text("---\ntype: reference\n---\nlaw\n")
    (root / "word.md").write_text("---\ntype: reference\n---\nword\n")
    added = run("add", "todo.md", "law.md")
    assert "todo.md was taken for a plan (name)" in added.stderr
    assert "law.md was taken for a reference (front matter)" in added.stderr
    assert [run.json("info", path)["document"]["type"] for path in ("todo.md", "law.md")] == [
        "plan",
        "reference",
    ]
    # An agent may not register one: a guess must not become a refused write.
    assert "a scratch (agents add no others)" in run("add", "word.md", "--agent", "bo").stderr
    assert run("add", "todo.md", code=1).stderr.count("\n") < 4
    assert "agent-trace add ./plan" in run("add", "plan", code=2).stderr
    (root / "named.md").write_text("n\n")
    run("add", "named.md", "--type", "plan")
    assert run.json("info", "named.md")["document"]["type"] == "plan"


def test_diff_shows_the_last_change_and_what_lies_on_the_disk(root: Path, run: Run) -> None:
    run("write", "diff.md", "--text", "one")
    run("write", "diff.md", "--text", "two")
    assert run("diff", "diff.md").stdout == (
        "--- diff.md@1\n+++ diff.md@2\n@@ -1 +1 @@\n-one\n+two\n"
    )
    told = run("diff", "diff.md", "2", "2")
    assert told.stdout == "" and "hold the same text" in told.stderr
    assert "the file holds what revision 2 does" in run("diff", "diff.md", "--disk").stderr
    assert "revisions 1 to 2, not 7" in run("diff", "diff.md", "7", code=1).stderr


def test_show_tells_where_a_revision_comes_from(run: Run) -> None:
    run("write", "show.md", "--text", "one", "-m", "because")
    run("write", "show.md", "--text", "two")
    shown = run("show", "show.md@1").stdout.splitlines()
    assert shown[0].startswith("show.md@1  ") and shown[2:] == ["", "one"]
    assert re.match(r"create by \S+ \(user\), .*, operation \d+, session \S+, commit ", shown[1])
    told = run.json("show", "show.md")
    assert isinstance(told, dict) and told["text"] == "two\n" and told["entry"]["revision"] == 2


def test_the_store_and_a_document_are_shown_as_they_were(run: Run) -> None:
    run("write", "then.md", "--text", "one")
    seq = str(run.lines("log", "then.md")[0]["seq"])
    run("write", "then.md", "--text", "two")
    run("mv", "then.md", "now.md")
    listed = run("show", "--at", seq).stdout
    assert re.search(r"^then\.md  +scratch  +1 ", listed, re.MULTILINE) and "now.md" not in listed
    assert run("show", "then.md", "--at", seq).stdout == "one\n"
    assert f"as of operation {seq}" in run("show", "now.md", "--at", seq, code=1).stderr
    assert "is no moment" in run("show", "--at", "soon", code=2).stderr


def test_blame_names_who_brought_each_line(run: Run) -> None:
    run("write", "blame.md", "--text", "one\ntwo")
    run("--agent", "planner", "edit", "blame.md", "--old", "two", "--new", "TWO")
    lines = run("blame", "blame.md").stdout.splitlines()
    assert re.match(r"1 .* 1 \| one$", lines[0]) and re.match(
        r"2  planner +\S{8}  .* 2 \| TWO$", lines[1]
    )
    (only,) = run.lines("blame", "blame.md", "-L", "2")
    assert (only["author"], only["revision"], only["text"]) == ("planner", 2, "TWO")


def test_log_follows_a_document_and_filters_before_the_limit(run: Run) -> None:
    run("write", "log-a.md", "--text", "one", "--type", "plan")
    run("--agent", "planner", "append", "log-a.md", "--text", "more")
    run("mv", "log-a.md", "log-b.md")
    assert [each["revision"] for each in run.lines("log", "log-b.md")] == [3, 2, 1]
    (by_agent,) = run.lines("log", "log-b.md", "--agent", "planner", "-n", "1")
    assert by_agent["revision"] == 2
    since = str(by_agent["seq"])
    assert [each["revision"] for each in run.lines("log", "log-b.md", "--since", since)] == [3]
    assert [each["revision"] for each in run.lines("log", "log-b.md", "--until", since)] == [2, 1]
    (newest,) = run.lines("log", "--type", "plan", "-n", "1", "--since", "1h")
    assert newest["path"] == "log-b.md"
    assert run.lines("log", "--until", "2001-01-01") == []


def test_tags_and_description_are_set_listed_and_mirrored(root: Path, run: Run) -> None:
    run("write", "tagged.md", "--text", "one", "--type", "plan")
    run("write", "other.md", "--text", "one")
    run("tag", "tagged.md", "+q3", "+milestone", "--durability", "journal")
    assert "annotate tagged.md@3" in run("tag", "tagged.md", "-milestone", "+web").stdout
    assert run("tag", "tagged.md").stdout == "q3\nweb\n"
    run("describe", "tagged.md", "What we do next")
    assert [each["path"] for each in run.lines("ls", "--tag", "q3")] == ["tagged.md"]
    assert run.lines("ls", "--tag", "q3", "--type", "scratch") == []
    listed = run("info", "tagged.md").stdout
    assert "tags         q3 web\n" in listed and "description  What we do next\n" in listed
    assert "has no tag milestone" in run("tag", "tagged.md", "-milestone", code=1).stderr
    run("tag", "tagged.md", "--bogus", code=2)
    assert isinstance(run.json("info", "tagged.md"), dict)


def test_an_untracked_file_stays_and_is_left_alone(root: Path, run: Run) -> None:
    run("write", "leave.md", "--text", "one")
    run("untrack", "leave.md")
    (root / "leave.md").write_text("mine now\n", encoding="utf-8")
    assert run.lines("ls", "leave") == []
    assert "deleted" in run("info", "leave.md").stdout
    assert "move it away first" in run("restore", "leave.md@1", code=1).stderr
    run("add", "scratch", "leave.md")
    assert run("read", "leave.md").stdout == "mine now\n"


def test_replace_shows_asks_and_writes_one_transaction(run: Run) -> None:
    run("write", "r/a.md", "--text", "the old name, old")
    run("write", "r/b.md", "--text", "an old hat", "--type", "plan")
    run("write", "r/c.md", "--text", "old rules", "--type", "reference")
    looked = run("replace", "old", "new", "--path", "r/*", "--dry-run")
    assert "+the new name, new\n" in looked.stdout and "4 replacements in 3" in looked.stderr
    assert "say --yes" in run("replace", "old", "new", code=2).stderr
    by_agent = ("--agent", "planner", "replace", r"\bold\b", "new", "--regex", "--path", "r/**")
    done = run(*by_agent, "--yes")
    assert "r/c.md is left out" in done.stderr
    assert re.search(r"3 replacements in 2 documents, operation \d+, commit ", done.stdout)
    entries = run.lines("log", "-n", "2", "--action", "put")
    assert len({entry["seq"] for entry in entries}) == 1
    assert run("read", "r/a.md").stdout == "the new name, new\n"
    assert run("read", "r/c.md").stdout == "old rules\n"
    assert "is no regular expression" in run("replace", "(", "x", "--regex", "--yes", code=1).stderr
    assert run.json("replace", "nowhere to be found", "x", "--dry-run") == {
        "found": [], "protected": [], "seq": 0, "commit": ""
    }  # fmt: skip


def test_an_export_is_the_store_as_it_was(root: Path, tmp_path: Path, run: Run) -> None:
    run("write", "e/a.md", "--text", "one")
    seq = str(run.lines("log", "e/a.md")[0]["seq"])
    run("write", "e/a.md", "--text", "two")
    run("write", "e/b.md", "--text", "later")
    out = tmp_path / "out"
    assert f"as of operation {seq} in {out}" in run("export", str(out), "--at", seq).stdout
    assert (out / "e/a.md").read_text(encoding="utf-8") == "one\n"
    assert not (out / "e/b.md").exists()
    assert [each.name for each in tmp_path.iterdir()] == ["out"]
    assert "not an empty directory" in run("export", str(out), code=1).stderr

    file = tmp_path / "store.json"
    run("export", str(file), "--format", "json", "--at", seq)
    told = json.loads(file.read_bytes())
    assert told["seq"] == int(seq)
    (document,) = [each for each in told["documents"] if each["path"] == "e/a.md"]
    assert (document["text"], document["revision"]) == ("one\n", 1)
    assert told["log"][-1]["seq"] == int(seq) and told["log"][0]["seq"] == 1


def test_status_counts_what_waits(run: Run) -> None:
    shown = run("status").stdout
    assert "waiting      nothing\n" in shown
    run("--agent", "bot", "write", "AGENT-TRACE.md", "--text", "mine", code=1)
    assert "waiting      1 refused write (agent-trace violations)\n" in run("status").stdout
    assert "leases       0 held\n" in shown and "health       good\n" in shown


def test_the_manifest_mirrors_the_documents_and_is_never_read(tmp_path: Path) -> None:
    root = tmp_path.resolve() / "store"
    with running(root) as coordinator:
        done = CliRunner().invoke(
            cli, ["--store", str(root), "write", "plan.md", "--text", "x", "--type", "plan"]
        )
        assert done.exit_code == 0, done.output
        manifest = root / ".agent-trace" / "manifest.toml"
        coordinator.end()
        whole = manifest.read_text(encoding="utf-8")
        (document,) = tomllib.loads(whole)["document"]
        assert (document["path"], document["type"]) == ("plan.md", "plan")
        manifest.write_text("type = [broken", encoding="utf-8")
        coordinator.start()
        listed = CliRunner().invoke(cli, ["--store", str(root), "ls", "--json"]).stdout
        assert json.loads(listed)["type"] == "plan"
        coordinator.end()
        assert manifest.read_text(encoding="utf-8") == whole
