"""One fixed sample of every message, and strategies that draw any valid value of a wire type.

The samples are what the golden frames and the protocol document show, so they never change within
a protocol version; a new message gets a new sample. The strategies are derived from the structs
themselves: a new message or field is covered without a word here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Literal

import msgspec
from hypothesis import strategies as st
from msgspec import inspect

from agent_trace_protocol import (
    AcceptDraft,
    AcquireLease,
    Action,
    Actor,
    Add,
    Annotate,
    Append,
    ApplyViolation,
    Basis,
    Blame,
    BlameRange,
    BlameReport,
    Brief,
    Briefing,
    CancelLease,
    Close,
    Committed,
    ConflictInfo,
    Delete,
    Diff,
    DiffReport,
    DiscardDraft,
    DiscardViolation,
    Document,
    DocumentInfo,
    DocumentReport,
    DocumentType,
    Done,
    DraftInfo,
    DraftPage,
    DraftReport,
    Drafts,
    DraftText,
    DropStatement,
    Durability,
    Edit,
    ErrorCode,
    ErrorInfo,
    EventPage,
    Events,
    EvictSession,
    GrantInfo,
    Heartbeat,
    Leased,
    LeaseInfo,
    LeaseList,
    LeaseRefusal,
    Leases,
    LeftOut,
    ListDocuments,
    ListStatements,
    Lock,
    Log,
    LogEntry,
    LogPage,
    MirrorInfo,
    Move,
    Open,
    Opened,
    Page,
    PermissionEntry,
    PermissionReport,
    Permissions,
    Permit,
    Ping,
    Put,
    Read,
    Reason,
    Recap,
    RecapPart,
    RecapSession,
    Reclassify,
    RefreshDocuments,
    Refused,
    RefusedText,
    ReleaseLease,
    RenewLease,
    Reply,
    ReplyEnvelope,
    Request,
    RequestEnvelope,
    Restore,
    Search,
    SearchHit,
    SearchPage,
    SectionEdit,
    SectionMode,
    SessionInfo,
    SessionKind,
    SessionList,
    Sessions,
    SessionState,
    ShowDocument,
    ShowDraft,
    ShowViolation,
    Snapshot,
    SnapshotDocument,
    SnapshotPage,
    StatementInfo,
    StatementList,
    Status,
    StatusReport,
    Steer,
    Stop,
    TouchInfo,
    Trace,
    TraceFile,
    TracePage,
    TraceRange,
    Traces,
    Transact,
    Unlock,
    Untrack,
    ViolationInfo,
    ViolationPage,
    ViolationReport,
    Violations,
    WaiterInfo,
    Why,
    WriteResult,
    decode_reply,
    decode_reply_envelope,
    decode_request,
    decode_request_envelope,
)

__all__ = ["DECODERS", "KINDS", "ROOTS", "SAMPLES", "Kind", "Message", "Sample", "values_of"]

Message = Request | Reply | RequestEnvelope | ReplyEnvelope
Kind = Literal["request envelope", "reply envelope", "request", "reply"]

KINDS: Final[tuple[Kind, ...]] = ("request envelope", "reply envelope", "request", "reply")

DECODERS: Final[dict[Kind, Callable[[bytes], Message]]] = {
    "request envelope": decode_request_envelope,
    "reply envelope": decode_reply_envelope,
    "request": decode_request,
    "reply": decode_reply,
}

ROOTS: Final[dict[Kind, Any]] = {
    "request envelope": RequestEnvelope,
    "reply envelope": ReplyEnvelope,
    "request": Request,
    "reply": Reply,
}


class Sample(msgspec.Struct, frozen=True):
    """A message with a name to show it by."""

    name: str
    kind: Kind
    message: Message


_KEY = bytes.fromhex("000102030405060708090a0b0c0d0e0f")
_SESSION = "ft4r64pbqciynbilqrzzeqcnla"
_COMMIT = "0123456789abcdef0123456789abcdef01234567"
_TIME_MS = 1_760_000_000_000

_ENTRY = LogEntry(
    42,
    _TIME_MS,
    Actor.AGENT,
    "planner",
    _SESSION,
    Action.CREATE,
    "plan.md",
    1,
    1,
    0,
    "create plan.md",
    _COMMIT,
)
_LEASE = LeaseInfo(41, "plans/*.md", False, Actor.AGENT, "planner", _SESSION, 30.0, 27.5, _TIME_MS)

_VIOLATION = ViolationInfo(
    "violation-17",
    17,
    _TIME_MS,
    Actor.AGENT,
    "planner",
    _SESSION,
    Action.PUT,
    "api.md",
    "reference-not-by-agents",
    ErrorCode.PERMISSION_DENIED,
    "only users write it",
    5,
    3,
)

_DOCUMENT = DocumentInfo(
    2688,
    "plan.md",
    DocumentType.PLAN,
    1,
    7,
    42,
    _TIME_MS,
    "planner",
    ("q3", "team:web"),
    "the plan",
)

_DRAFT = DraftInfo(
    "draft-17",
    17,
    _TIME_MS,
    Actor.AGENT,
    "planner",
    _SESSION,
    ErrorCode.CONFLICT,
    "plan.md",
    1,
    2,
    1,
    5,
    False,
)

SAMPLES: Final = (
    Sample("RequestEnvelope", "request envelope", RequestEnvelope(1, _KEY, 7, 5000)),
    Sample("ReplyEnvelope", "reply envelope", ReplyEnvelope(1, 7, 42, 3)),
    Sample(
        "Open",
        "request",
        Open(
            "planner",
            Actor.AGENT,
            SessionKind.LIBRARY,
            program="example 1.0",
            model="m",
            host="laptop",
            pid=4242,
            pid_started=987654,
        ),
    ),
    Sample("Heartbeat", "request", Heartbeat()),
    Sample("Close", "request", Close("done for today")),
    Sample(
        "Transact (Put)",
        "request",
        Transact((Put("plan.md", b"# Plan\n", 0, DocumentType.PLAN),), Durability.GIT, "start"),
    ),
    Sample("Transact (Append)", "request", Transact((Append("notes/today.md", b"- met\n"),))),
    Sample(
        "Transact (Edit)", "request", Transact((Edit("plan.md", b"[ ] one", b"[x] one", False, 3),))
    ),
    Sample(
        "Transact (SectionEdit)",
        "request",
        Transact((SectionEdit("plan.md", "## Next", b"- two\n", SectionMode.APPEND),)),
    ),
    Sample("Transact (Delete)", "request", Transact((Delete("old.md", 2),))),
    Sample("Transact (Move)", "request", Transact((Move("a.md", "b/a.md"),))),
    Sample("Transact (Restore)", "request", Transact((Restore("plan.md", 1),))),
    Sample("Transact (Add)", "request", Transact((Add("guide.md", DocumentType.REFERENCE),))),
    Sample("Transact (AcceptDraft)", "request", Transact((AcceptDraft("d17"),))),
    Sample(
        "Transact (Reclassify)",
        "request",
        Transact((Reclassify("guide.md", DocumentType.REFERENCE, 2),), confirm=True),
    ),
    Sample("Transact (ApplyViolation)", "request", Transact((ApplyViolation("violation-17"),))),
    Sample(
        "Transact (Annotate)",
        "request",
        Transact((Annotate("plan.md", ("q3",), ("draft",), "the plan", 2),)),
    ),
    Sample("Transact (Untrack)", "request", Transact((Untrack("old.md", 2),))),
    Sample("Read", "request", Read("plan.md", 2)),
    Sample("ListDocuments", "request", ListDocuments("m", 100, DocumentType.PLAN, "plans/", "q3")),
    Sample(
        "Log",
        "request",
        Log(
            "plan.md",
            10,
            42,
            "planner",
            _SESSION,
            Action.EDIT,
            DocumentType.PLAN,
            7,
            _TIME_MS,
            _TIME_MS + 1,
        ),
    ),
    Sample("Diff", "request", Diff("plan.md", 3, 4)),
    Sample("Diff (with a text)", "request", Diff("plan.md", 4, content=b"# Plan B\n")),
    Sample("Blame", "request", Blame("plan.md", 4, 10, 20)),
    Sample("ShowDocument", "request", ShowDocument("plan.md")),
    Sample("Snapshot", "request", Snapshot(42, 0, 2688, 100, True)),
    Sample("Traces", "request", Traces(40, 42, 10)),
    Sample("Status", "request", Status()),
    Sample("Transact (leases)", "request", Transact((Append("plan.md", b"- b\n"),), leases=(41,))),
    Sample("Sessions", "request", Sessions("ft4r", "planner", True, 20)),
    Sample("EvictSession", "request", EvictSession(_SESSION, "it hangs")),
    Sample("AcquireLease", "request", AcquireLease("plans/*.md", False, 30.0, 5.0)),
    Sample("RenewLease", "request", RenewLease(41, 60.0)),
    Sample("ReleaseLease", "request", ReleaseLease(41)),
    Sample("CancelLease", "request", CancelLease(7)),
    Sample("Leases", "request", Leases("plan.md", _SESSION, 40, 10)),
    Sample(
        "Events", "request", Events(42, 50, 20.0, "plans/**", "planner", (Action.EDIT, Action.PUT))
    ),
    Sample("Ping", "request", Ping()),
    Sample("Stop", "request", Stop()),
    Sample("Permissions", "request", Permissions("plan.md")),
    Sample("Unlock", "request", Unlock("api.md", "planner", 600)),
    Sample("Lock", "request", Lock("api.md", "planner")),
    Sample("Violations", "request", Violations(42, 10)),
    Sample("ShowViolation", "request", ShowViolation("violation-17")),
    Sample("DiscardViolation", "request", DiscardViolation("violation-17")),
    Sample("RefreshDocuments", "request", RefreshDocuments()),
    Sample("Steer", "request", Steer("Ship the importer first", "update-17")),
    Sample("DropStatement", "request", DropStatement("update-17")),
    Sample("ListStatements", "request", ListStatements()),
    Sample("Transact (AcceptDraft, if_revision)", "request", Transact((AcceptDraft("d17", 3),))),
    Sample("Drafts", "request", Drafts(42, 50, "planner", "plan.md")),
    Sample("ShowDraft", "request", ShowDraft("draft-17")),
    Sample("DiscardDraft", "request", DiscardDraft("draft-17")),
    Sample(
        "Search",
        "request",
        Search("lease OR lock", DocumentType.PLAN, "planner", 1_700_000_000_000, 0, 20, True),
    ),
    Sample("Brief", "request", Brief(6000, True)),
    Sample("Why", "request", Why("plan.md", 3)),
    Sample("RecapSession", "request", RecapSession(_SESSION)),
    Sample("Opened", "reply", Opened(_SESSION, 1, 3, "store", 2.5, 10.0, 1 << 20, 8, "")),
    Sample("Done", "reply", Done()),
    Sample(
        "Committed",
        "reply",
        Committed(42, (WriteResult("plan.md", 1, Action.CREATE, 1, 0),), _COMMIT),
    ),
    Sample(
        "Document",
        "reply",
        Document("plan.md", DocumentType.PLAN, 1, b"# Plan\n", 42, _TIME_MS, "planner"),
    ),
    Sample(
        "Page",
        "reply",
        Page(
            (DocumentInfo(2688, "plan.md", DocumentType.PLAN, 1, 7, 42, _TIME_MS, "planner"),),
            False,
        ),
    ),
    Sample(
        "LogPage",
        "reply",
        LogPage(
            (_ENTRY,),
            True,
        ),
    ),
    Sample(
        "SessionList",
        "reply",
        SessionList(
            (
                SessionInfo(
                    _SESSION,
                    Actor.USER,
                    "ada",
                    SessionKind.CLI,
                    SessionState.LIVE,
                    _TIME_MS,
                    0.5,
                    "agent-trace",
                    "laptop",
                    4242,
                    "",
                    "m",
                    "ipc",
                    _TIME_MS,
                    0,
                    "",
                    1,
                ),
            )
        ),
    ),
    Sample("Leased", "reply", Leased(_LEASE)),
    Sample(
        "LeaseList",
        "reply",
        LeaseList((_LEASE,), (WaiterInfo("plans/a.md", True, "reviewer", _SESSION, 4.5),), False),
    ),
    Sample("EventPage", "reply", EventPage((_ENTRY,), 42, True)),
    Sample(
        "Committed (warnings)",
        "reply",
        Committed(42, (WriteResult("plans/a.md", 2, Action.PUT, 1, 0),), "", (_LEASE,)),
    ),
    Sample(
        "Refused (StaleLease)",
        "reply",
        Refused(
            ErrorInfo(
                ErrorCode.STALE_LEASE,
                "lease 17 is not held any more",
                lease=LeaseRefusal("plans/a.md", "planner", _SESSION, 41, 7.5, "draft-42"),
            )
        ),
    ),
    Sample(
        "StatusReport",
        "reply",
        StatusReport(
            "store",
            "/srv/notes",
            "0.1.0",
            99,
            3,
            12.25,
            "ipc:///run/a.sock",
            42,
            41,
            _COMMIT,
            5,
            2,
            1,
            "",
            1 << 26,
            65536,
            4096,
            1,
            "",
            leases=3,
            drafts=2,
            violations=1,
            mirrors=(MirrorInfo("file:///srv/mirror.git", 40, "it is gone"),),
        ),
    ),
    Sample(
        "DiffReport",
        "reply",
        DiffReport("plan.md", 3, "plan.md", 4, "@@ -1 +1 @@\n-a\n+b\n", 1, 1, 0),
    ),
    Sample(
        "BlameReport",
        "reply",
        BlameReport("plan.md", 1, b"# Plan\n", (BlameRange(1, 1, 1, True),), (_ENTRY,)),
    ),
    Sample(
        "DocumentReport",
        "reply",
        DocumentReport(
            _DOCUMENT,
            False,
            42,
            _TIME_MS,
            "planner",
            1,
            (TouchInfo(_SESSION, "planner", 1, 1, 42),),
            True,
            (_LEASE,),
            (),
            ("draft-43",),
            ("violation-44",),
        ),
    ),
    Sample(
        "SnapshotPage",
        "reply",
        SnapshotPage(42, _TIME_MS, (SnapshotDocument(_DOCUMENT, b"# Plan\n"),), 2688, False),
    ),
    Sample(
        "TracePage",
        "reply",
        TracePage(
            "store",
            (
                Trace(
                    42,
                    _TIME_MS,
                    Actor.AGENT,
                    "planner",
                    _SESSION,
                    "example 1.0",
                    "m",
                    _COMMIT,
                    (TraceFile("plan.md", 1, Action.CREATE, (TraceRange(1, 1, bytes(32)),)),),
                ),
            ),
            42,
            False,
        ),
    ),
    Sample(
        "Refused", "reply", Refused(ErrorInfo(ErrorCode.NOT_FOUND, "there is no document 'x.md'"))
    ),
    Sample(
        "Refused (Conflict)",
        "reply",
        Refused(
            ErrorInfo(
                ErrorCode.CONFLICT,
                "plan.md is at revision 4, not 3",
                False,
                ConflictInfo("plan.md", 3, 4, "reviewer", _TIME_MS, "-a\n+b\n", "d17", True),
            )
        ),
    ),
    Sample(
        "PermissionReport",
        "reply",
        PermissionReport(
            Actor.AGENT,
            "api.md",
            True,
            (PermissionEntry(DocumentType.REFERENCE, "modify", Permit.NO, "only users write it"),),
            (GrantInfo("api.md", "planner", 12.5, "ada", 18),),
        ),
    ),
    Sample(
        "SearchPage",
        "reply",
        SearchPage(
            (
                SearchHit(
                    "plan.md",
                    DocumentType.PLAN,
                    3,
                    42,
                    1_700_000_000_000,
                    "planner",
                    Action.EDIT,
                    True,
                    "who holds the [lease]",
                ),
            ),
            False,
            42,
            42,
        ),
    ),
    Sample(
        "StatementList",
        "reply",
        StatementList(
            (StatementInfo("update-17", 17, 1_700_000_000_000, "ada", "Ship the importer first"),)
        ),
    ),
    Sample("ViolationPage", "reply", ViolationPage((_VIOLATION,), False)),
    Sample("DraftPage", "reply", DraftPage((_DRAFT,), True)),
    Sample(
        "DraftReport",
        "reply",
        DraftReport(
            _DRAFT,
            (
                DraftText(
                    "plan.md",
                    Action.PUT,
                    1,
                    2,
                    5,
                    True,
                    b"mine\n",
                    False,
                    "-theirs\n+mine",
                    "-base\n+theirs",
                    ("reviewer",),
                ),
            ),
        ),
    ),
    Sample(
        "ViolationReport",
        "reply",
        ViolationReport(
            _VIOLATION, (RefusedText("api.md", Action.PUT, 1, 5, True, b"mine\n"),), "-a\n+mine"
        ),
    ),
    Sample(
        "Briefing",
        "reply",
        Briefing(42, 7, 'objective: "Ship it" (plan.md:3)\n', (LeftOut("open items", 3),)),
    ),
    Sample(
        "Reason",
        "reply",
        Reason("plan.md", 2, 3, b"Ship it\n", _ENTRY, None, (Basis("api.md", 1, 2),)),
    ),
    Sample(
        "Recap",
        "reply",
        Recap(_SESSION, 1, (RecapPart(42, 42, _TIME_MS, _TIME_MS, 1, ("create plan.md@1",)),)),
    ),
    Sample(
        "Refused (PermissionDenied)",
        "reply",
        Refused(
            ErrorInfo(ErrorCode.PERMISSION_DENIED, "only users write it", violation="violation-17")
        ),
    ),
)
"""Every request, operation, reply and envelope at least once."""


def values_of(root: object) -> st.SearchStrategy[Any]:
    """Return a strategy for any valid value of a wire type."""
    return _values(inspect.type_info(root))


# Lone surrogates have no UTF-8 form; that they are refused is a test of its own.
_TEXT: Final = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


def _values(info: inspect.Type) -> st.SearchStrategy[Any]:
    match info:
        case inspect.StructType(cls=cls, fields=fields):
            return st.builds(cls, *(_values(field.type) for field in fields))
        case inspect.UnionType(types=types):
            return st.one_of([_values(member) for member in types])
        case inspect.VarTupleType(item_type=item, max_length=length_max):
            return st.lists(_values(item), max_size=min(4, length_max or 4)).map(tuple)
        case inspect.EnumType(cls=enum):
            return st.sampled_from(list(enum))
        case inspect.IntType(ge=low, le=high):
            return st.integers(low, high)
        case inspect.FloatType(ge=low, le=high):
            return st.floats(low, high, allow_nan=False)
        case inspect.BoolType():
            return st.booleans()
        case inspect.StrType():
            return _TEXT
        case inspect.BytesType():
            return st.binary(max_size=200)
        case inspect.NoneType():
            return st.none()
        case _:
            raise NotImplementedError(f"no strategy for {info}")
