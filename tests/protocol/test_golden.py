"""The wire does not change by accident.

`pytest tests/protocol/test_golden.py --regenerate` rewrites the files. A changed line of
`frames_v1.json` breaks every client that is out there: the protocol version must then grow, and
the old frames stay as they are.
"""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from agent_trace_protocol import PROTOCOL_VERSION, encode, protocol_schema
from support.messages import DECODERS, SAMPLES, Kind, Sample

GOLDEN = Path(__file__).parent / "golden"
SCHEMA = GOLDEN / "schema.json"
FRAMES = GOLDEN / f"frames_v{PROTOCOL_VERSION}.json"


class GoldenFrame(msgspec.Struct, frozen=True):
    name: str
    kind: Kind
    hex: str


def golden_frames() -> dict[str, GoldenFrame]:
    frames = msgspec.json.decode(FRAMES.read_bytes(), type=list[GoldenFrame])
    return {frame.name: frame for frame in frames}


def test_the_schema_is_the_golden_one(regenerate: bool) -> None:
    # As it is written: JSON knows no tuples, which are the defaults of some fields.
    schema = json.loads(json.dumps(protocol_schema()))
    if regenerate:
        SCHEMA.write_text(json.dumps(schema, indent=1) + "\n", encoding="utf-8")
    assert json.loads(SCHEMA.read_text(encoding="utf-8")) == schema


def test_every_sample_has_a_golden_frame_and_every_frame_a_sample(regenerate: bool) -> None:
    if regenerate:
        frames = [
            GoldenFrame(sample.name, sample.kind, encode(sample.message).hex())
            for sample in SAMPLES
        ]
        text = msgspec.json.format(msgspec.json.encode(frames), indent=1).decode()
        FRAMES.write_text(text + "\n", encoding="utf-8")
    assert list(golden_frames()) == [sample.name for sample in SAMPLES]


@pytest.mark.parametrize("sample", SAMPLES, ids=[sample.name for sample in SAMPLES])
def test_a_sample_and_its_golden_frame_are_the_same_message(sample: Sample) -> None:
    frame = golden_frames()[sample.name]
    assert frame.kind == sample.kind
    assert encode(sample.message).hex() == frame.hex
    assert DECODERS[frame.kind](bytes.fromhex(frame.hex)) == sample.message
