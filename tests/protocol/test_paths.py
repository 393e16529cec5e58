"""A path names one document of the store, on every file system, or it is refused.

The reserved names follow git's own tests of paths (`t0060-path-utils`, `t1014-read-tree-confusing`,
`t7415-submodule-names`): what git, HFS+, NTFS or Windows read as `.git` or as a device.
"""

from __future__ import annotations

import os
import unicodedata
from pathlib import PurePosixPath, PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_trace_protocol import InvalidPath, fold_path, parse_path
from agent_trace_protocol.limits import PATH_BYTES_MAX, PATH_DEPTH_MAX, PATH_SEGMENT_BYTES_MAX

ALLOWED = [
    "plan.md",
    "Plan.md",
    "README",
    "a/b/c.md",
    "notes/2026-01-02 meeting.md",
    "a.b/c..d.md",
    "...md",
    "_private/x",
    ".hidden.md",
    ".env",
    "git",
    "git/git.md",
    "agit~1x.md",
    "gitignore.md",
    "x.git",
    ".agent-trace.md",
    "agent-trace/x.md",
    "agents~today.md",
    "plan.md~",
    "it's 100% (done) & more! #1 [x] {y} = $5 + @me; `q` ^.md",
    "console.md",
    "auxiliary/x",
    "nul-terminated.md",
    "com.md",
    "com10.md",
    "lpt.txt",
    "résumé.md",
    "計画/概要.md",
    "なぜ？：理由.md",
    "план.md",
    "\u2764\ufe0f.md",
    "🗂 notes.md",
    "½ done.md",
    "a\uff0fb.md",
    "wait\u2026md",
]

STRUCTURE = [
    "",
    ".",
    "..",
    "./plan.md",
    "../plan.md",
    "a/./b",
    "a/../b",
    "a/..",
    "a/.",
    "../../../../etc/passwd",
    "a//b",
    "//a",
    "//host/share/x",
    "/",
    "/etc/passwd",
    "a/",
    "a\\b",
    "..\\x",
    "\\\\host\\share",
    "\\\\?\\C:\\x",
    "C:\\x",
    "C:/x",
    "c:x",
    "a:b",
    "plan.md:stream",
    "plan.md::$DATA",
    "a*",
    "a?",
    'a"b',
    "a<b",
    "a>b",
    "a|b",
    "~",
    "~/x",
    "~root/x",
    "a/~b",
    "-rf",
    "--help",
    "a/-b",
    " a",
    "a/ b",
    "a ",
    "a /b",
    "a.",
    "a./b",
    "...",
    ". ",
    ".. /x",
    "a/. ./b",
    "\u2024\u2024/x",
    "\uff0e\uff0e/x",
    "\u3164",
    "a/\ufe0f/b",
    "\u00a0",
    "\u2003.md/\u2003",
]

INVISIBLE = [
    "a\x00b",
    "\x00",
    "a\nb",
    "a\rb",
    "a\tb",
    "a\x1b[2Jb",
    "a\x7fb",
    "a\x85b",
    "a\x9bb",
    "a\u00adb",
    "a\u061cb",
    "a\u180eb",
    "a\u200bb",
    "a\u200cb",
    "a\u200db",
    "a\u200eb",
    "a\u200fb",
    "a\u2028b",
    "a\u2029b",
    "a\u202ab",
    "a\u202eb",
    "a\u2060b",
    "a\u2066b",
    "a\u2069b",
    "a\u206ab",
    "a\ufeffb",
    "\ufeffa",
    "a\ufff9b",
    "a\ufffeb",
    "a\uffffb",
    "a\U0001fffeb",
    "a\ud800b",
    "a\udce9b",
    "a\ue000b",
    "a\U000e0001b",
    "a\U000e0041b",
    "a\U0010ffffb",
    "a\u0378b",
]

RESERVED = [
    ".git",
    ".GIT",
    ".Git",
    ".gIT/config",
    "a/.git/hooks/pre-commit",
    "a/.git",
    ".git.",
    ".git ",
    ".git...",
    ".git . .",
    ".git::$INDEX_ALLOCATION",
    ".git::$INDEX_ALLOCATION/config",
    ".git:stream",
    ".git\\config",
    ".g\u200cit",
    ".g\u200dIT",
    "\u200e.git",
    ".git\u200f",
    ".\u202agit",
    ".g\u206fit",
    ".gi\ufefft",
    ".g\u034fit",
    ".gi\ufe0ft",
    ".g\u1160it",
    ".g\u0131t\u200b",
    "\uff0egit",
    ".\uff47\uff49\uff54",
    ".ＧＩＴ",
    ".gitmodules",
    ".GITMODULES",
    ".gitattributes",
    ".gitignore",
    ".gitkeep",
    ".github/x.md",
    "a/.gitmodules",
    "git~1",
    "GIT~1",
    "Git~2",
    "git~10",
    "a/git~1/config",
    "gitmod~1",
    "GITMOD~4",
    "gi7eba~1",
    "GI7EBA~9",
    "gi7eb~01",
    "gi250a~1",
    "gi7d29~1",
    "maba30~1",
    "~1000000",
    ".agent-trace",
    ".agent-trace/state.db",
    ".AGENT-TRACE/config.toml",
    "a/.agent-trace/x",
    ".agent\u200b-trace",
    ".agent-\uff54race",
    "agent-~1",
    "AGENT-~1/state.db",
    "ag1234~1",
    "plan~1.md",
    "NOTES-~1.MAR",
]

DEVICES = [
    "con",
    "CON",
    "Con.md",
    "con.tar.gz",
    "a/con",
    "con/a",
    "con .txt",
    "prn",
    "PRN.txt",
    "aux",
    "aux.c",
    "nul",
    "NUL.md",
    "nul.",
    "conin$",
    "CONOUT$",
    "com0",
    "com1",
    "COM9.log",
    "com\u00b9",
    "COM\u00b2.txt",
    "com\u00b3",
    "lpt1",
    "LPT9.md",
    "lpt\u00b3.x",
    "\uff43on",
    "n\ufe0ful",
]


@pytest.mark.parametrize("path", ALLOWED, ids=ascii)
def test_an_ordinary_path_is_taken_as_it_is(path: str) -> None:
    assert parse_path(path) == path


@pytest.mark.parametrize("path", STRUCTURE, ids=ascii)
def test_a_path_that_has_structure_is_refused(path: str) -> None:
    with pytest.raises(InvalidPath):
        parse_path(path)


@pytest.mark.parametrize("path", INVISIBLE, ids=ascii)
def test_a_path_with_what_can_not_be_seen_is_refused(path: str) -> None:
    with pytest.raises(InvalidPath, match=r"holds U\+[0-9A-F]{4,6}, which is invisible"):
        parse_path(path)


@pytest.mark.parametrize("path", RESERVED, ids=ascii)
def test_a_path_that_reaches_a_reserved_place_on_some_system_is_refused(path: str) -> None:
    with pytest.raises(InvalidPath):
        parse_path(path)


@pytest.mark.parametrize("path", DEVICES, ids=ascii)
def test_a_path_that_is_a_device_on_windows_is_refused(path: str) -> None:
    with pytest.raises(InvalidPath):
        parse_path(path)


@pytest.mark.parametrize("path", [*STRUCTURE, *INVISIBLE, *RESERVED, *DEVICES], ids=ascii)
def test_a_refusal_is_one_printable_line(path: str) -> None:
    with pytest.raises(InvalidPath) as caught:
        parse_path(path)
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 10 * PATH_BYTES_MAX


@pytest.mark.parametrize("path", [*RESERVED, *DEVICES], ids=ascii)
def test_a_refused_name_is_refused_below_a_folder_too(path: str) -> None:
    with pytest.raises(InvalidPath):
        parse_path(f"folder/{path}")


@pytest.mark.parametrize("letter", ["x", "é", "計", "🗂"])
def test_lengths_are_counted_in_bytes(letter: str) -> None:
    size = len(letter.encode())
    longest = letter * (PATH_SEGMENT_BYTES_MAX // size)
    assert parse_path(longest) == longest
    with pytest.raises(InvalidPath, match="the limit is 200"):
        parse_path(longest + letter)
    path = "/".join([longest, longest, "x" * (PATH_BYTES_MAX - 2 - 2 * len(longest.encode()))])
    assert parse_path(path) == path
    with pytest.raises(InvalidPath, match="the path has 513 bytes; the limit is 512"):
        parse_path(path + "x")


def test_a_path_may_be_as_deep_as_the_limit_and_no_deeper() -> None:
    deepest = "/".join(["d"] * PATH_DEPTH_MAX)
    assert parse_path(deepest) == deepest
    with pytest.raises(InvalidPath, match="has 17 levels; the limit is 16"):
        parse_path(deepest + "/d")


def test_lengths_are_counted_in_the_form_that_is_stored() -> None:
    # U+FB2C has no composed form: its three bytes become six.
    growing = "/".join(["\ufb2c" * 30] * 5)
    assert len(growing.encode()) < PATH_BYTES_MAX
    with pytest.raises(InvalidPath, match="the path has 904 bytes"):
        parse_path(growing)


def test_a_huge_path_is_refused_without_being_quoted() -> None:
    with pytest.raises(InvalidPath) as caught:
        parse_path("a/" * 4_000_000)
    assert caught.value.message == "the path has 8000000 bytes; the limit is 512"


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("re\u0301sume\u0301.md", "r\u00e9sum\u00e9.md"),
        ("\u212b.md", "\u00c5.md"),
        ("\u1112\u1161\u11ab.md", "\ud55c.md"),
        ("q\u0323\u0307.md", "q\u0323\u0307.md"),
        ("q\u0307\u0323.md", "q\u0323\u0307.md"),
    ],
    ids=ascii,
)
def test_a_path_is_stored_composed(text: str, path: str) -> None:
    assert parse_path(text) == path


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Plan.md", "plan.md"),
        ("A/b.md", "a/B.md"),
        ("RÉSUMÉ.md", "résumé.md"),
        ("r\u00e9sum\u00e9.md", "re\u0301sume\u0301.md"),
        ("straße.md", "STRASSE.md"),
        ("\ufb01le.md", "file.md"),
        ("İ.md", "i\u0307.md"),
        ("ΣΊΣΥΦΟΣ.md", "σίσυφος.md"),
        ("ς.md", "σ.md"),
        ("\u212a.md", "k.md"),
        ("ſ.md", "s.md"),
        ("\uff50\uff4c\uff41\uff4e.md", "plan.md"),
        ("x\u00b2.md", "x2.md"),
        ("a\u00a0b.md", "a b.md"),
        ("\u2764\ufe0f.md", "\u2764.md"),
        ("plan\u034f.md", "plan.md"),
        ("a\u3164b.md", "ab.md"),
        ("a\uff0fb", "a\u2215b"),
    ],
    ids=ascii,
)
def test_names_that_some_system_takes_for_one_fold_to_one(one: str, other: str) -> None:
    assert fold_path(one) == fold_path(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("plan.md", "plan.txt"),
        ("a/b", "a\uff0fb"),
        ("i.md", "\u0131.md"),
        ("e.md", "é.md"),
        ("a b", "ab"),
        ("計.md", "画.md"),
    ],
    ids=ascii,
)
def test_names_that_every_system_tells_apart_fold_apart(one: str, other: str) -> None:
    assert fold_path(one) != fold_path(other)


def test_folding_is_idempotent_and_keeps_slashes_for_every_character() -> None:
    for number in range(0x110000):
        character = chr(number)
        folded = fold_path(f"a{character}/{character}\u0301\u0345")
        assert fold_path(folded) == folded
        assert folded.count("/") == 1 + 2 * (character == "/")


# ---- properties -----------------------------------------------------------------------------

# Letters, marks and look-alikes that the rules are about, dense enough to meet each other.
_SPECIAL = list(
    "aAgGiItT.~1/\\: -_\u0131\u0130ßſ\u0301\u0307\u0323\u0345\u00e9\u1e9e\ufb01\uff0e\uff0f\uff47"
    "\u200b\u034f\ufe0f\u3164\u2024\u2026\u00b9\u2100\ufb2c\u1fb3\u03a3\u03c2\U0001f5c2"
)
texts = st.one_of(
    st.text(max_size=40),
    st.text(st.sampled_from(_SPECIAL), max_size=12),
    st.lists(
        st.sampled_from([*ALLOWED, *STRUCTURE, *INVISIBLE, *RESERVED, *DEVICES]), max_size=4
    ).map("/".join),
    st.from_regex(r"[A-Za-z0-9_.~-]{1,12}(/[A-Za-z0-9_.~-]{1,12}){0,3}", fullmatch=True),
)


def parse_or_none(text: str) -> str | None:
    """Parse, and let through only what the law promises to raise."""
    try:
        return parse_path(text)
    except InvalidPath:
        return None


# Deprecated from Python 3.13 on, and still the second opinion we want.
@pytest.mark.filterwarnings("ignore:.*is_reserved:DeprecationWarning")
@given(texts)
def test_a_parsed_path_stays_below_the_root_on_every_system(text: str) -> None:
    path = parse_or_none(text)
    if path is None:
        return
    assert path != ""
    assert os.path.normpath(path) == path
    assert os.path.normpath(os.path.join("/store", path)).startswith("/store/")
    assert str(PurePosixPath(path)) == path
    windows = PureWindowsPath(path)
    assert not windows.is_absolute()
    assert windows.drive == windows.root == windows.anchor == ""
    assert not windows.is_reserved()
    assert list(windows.parts) == path.split("/")
    assert len(path.encode()) <= PATH_BYTES_MAX


@given(texts)
def test_a_parsed_path_is_canonical(text: str) -> None:
    path = parse_or_none(text)
    if path is None:
        return
    assert path == unicodedata.normalize("NFC", text)
    assert parse_path(path) == path
    assert path.isprintable() or any(
        # Python calls no space but the ASCII one printable.
        unicodedata.category(character) == "Zs"
        for character in path
    )


@given(texts)
def test_both_normal_forms_of_a_path_are_the_same_path(text: str) -> None:
    path = parse_or_none(unicodedata.normalize("NFC", text))
    decomposed = unicodedata.normalize("NFD", text)
    if path is None or len(decomposed.encode()) > PATH_BYTES_MAX:
        return
    assert parse_path(decomposed) == path


@given(texts)
def test_no_segment_of_a_parsed_path_is_git_or_ours_however_it_is_read(text: str) -> None:
    path = parse_or_none(text)
    if path is None:
        return
    for segment in path.split("/"):
        for reading in (
            segment.lower(),
            segment.casefold(),
            unicodedata.normalize("NFKC", segment).casefold(),
            unicodedata.normalize("NFKD", segment).casefold(),
            segment.rstrip(". ").lower(),
            segment.split(":")[0].lower(),
        ):
            assert not reading.startswith(".git")
            assert reading != ".agent-trace"


@given(texts)
def test_folding_is_idempotent_and_keeps_the_segments(text: str) -> None:
    folded = fold_path(text)
    assert fold_path(folded) == folded
    assert folded.count("/") == text.count("/")
    assert folded.split("/") == [fold_path(segment) for segment in text.split("/")]


@given(texts)
def test_twins_by_case_or_normal_form_fold_to_one(text: str) -> None:
    for form in ("NFC", "NFD", "NFKC", "NFKD"):
        normalized = unicodedata.normalize(form, text)
        if normalized.count("/") == text.count("/"):
            assert fold_path(normalized) == fold_path(text)
    if "\u0345" not in unicodedata.normalize("NFD", text):
        # Upper-casing a subscript iota changes the order of marks; no file system does that.
        assert fold_path(text.casefold()) == fold_path(text)
    assert fold_path(text.lower()) == fold_path(text)


@given(st.text(st.sampled_from("abcXYZ012 ._-/"), max_size=20))
def test_ascii_twins_by_case_are_twins(text: str) -> None:
    assert fold_path(text.upper()) == fold_path(text.lower()) == text.lower()
