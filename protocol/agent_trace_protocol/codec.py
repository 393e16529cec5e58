"""Structs to and from MessagePack. Sizes are checked before anything is decoded.

msgspec raises more than its own errors on hostile input (`UnicodeDecodeError`, `RecursionError`);
here all of them become `MalformedMessage`, so callers catch one thing. The other way round, what
can not travel (a lone surrogate from a file name, a number past 64 bits, a body over its limit) is
refused before it is sent: the other side would only hang up on it, and the sender would try again.
"""

from __future__ import annotations

from typing import Final, TypeVar

import msgspec

from .envelope import ReplyEnvelope, RequestEnvelope
from .errors import InvalidRequest, MalformedMessage, TooLarge
from .limits import BODY_BYTES_MAX, ENVELOPE_BYTES_MAX, REASON_LENGTH_MAX
from .replies import Reply
from .requests import Request

__all__ = [
    "decode_reply",
    "decode_reply_envelope",
    "decode_request",
    "decode_request_envelope",
    "encode",
]

_T = TypeVar("_T")

_encoder: Final = msgspec.msgpack.Encoder()
_request_envelope: Final = msgspec.msgpack.Decoder(RequestEnvelope)
_reply_envelope: Final = msgspec.msgpack.Decoder(ReplyEnvelope)
_request: Final[msgspec.msgpack.Decoder[Request]] = msgspec.msgpack.Decoder(Request)
_reply: Final[msgspec.msgpack.Decoder[Reply]] = msgspec.msgpack.Decoder(Reply)


def encode(message: Request | Reply | RequestEnvelope | ReplyEnvelope) -> bytes:
    """Return the MessagePack bytes of a message or an envelope.

    Raises:
        InvalidRequest: a value can not be put into MessagePack.
        TooLarge: the bytes are more than the other side takes.
    """
    try:
        data = _encoder.encode(message)
    except (UnicodeEncodeError, OverflowError) as error:
        raise InvalidRequest(f"the message can not be sent: {_reason(error)}") from error
    if isinstance(message, (RequestEnvelope, ReplyEnvelope)):
        _check_size(data, ENVELOPE_BYTES_MAX, "envelope")
    else:
        _check_size(data, BODY_BYTES_MAX, "message")
    return data


def decode_request_envelope(data: bytes) -> RequestEnvelope:
    """Return the request envelope in `data`; raises `MalformedMessage` or `TooLarge`."""
    return _decode(_request_envelope, data, ENVELOPE_BYTES_MAX, "envelope")


def decode_reply_envelope(data: bytes) -> ReplyEnvelope:
    """Return the reply envelope in `data`; raises `MalformedMessage` or `TooLarge`."""
    return _decode(_reply_envelope, data, ENVELOPE_BYTES_MAX, "envelope")


def decode_request(data: bytes) -> Request:
    """Return the request in `data`; raises `MalformedMessage` or `TooLarge`."""
    return _decode(_request, data, BODY_BYTES_MAX, "request")


def decode_reply(data: bytes) -> Reply:
    """Return the reply in `data`; raises `MalformedMessage` or `TooLarge`."""
    return _decode(_reply, data, BODY_BYTES_MAX, "reply")


def _decode(decoder: msgspec.msgpack.Decoder[_T], data: bytes, limit: int, what: str) -> _T:
    _check_size(data, limit, what)
    try:
        return decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedMessage(f"the {what} can not be read: {_reason(error)}") from error


def _check_size(data: bytes, limit: int, what: str) -> None:
    if len(data) > limit:
        raise TooLarge(f"the {what} has {len(data)} bytes; the limit is {limit}")


def _reason(error: Exception) -> str:
    # msgspec quotes an unknown tag or name whole, megabytes or terminal escapes as they may be, and
    # this text goes into replies and logs.
    text = str(error)
    if len(text) > REASON_LENGTH_MAX:
        text = text[:REASON_LENGTH_MAX] + "..."
    return "".join(character if character.isprintable() else "?" for character in text)
