"""A client that sends as fast as it can and hardly reads: `python -m load.flooder ENDPOINT KIND`.

It prints a line when it begins, floods until its standard input ends, and then prints how many of
its requests were done and how many were refused with `busy`.
"""

from __future__ import annotations

import select
import sys

import zmq

from agent_trace_protocol import (
    PROTOCOL_VERSION,
    Busy,
    Log,
    Put,
    Refused,
    RequestEnvelope,
    Transact,
    decode_reply,
    encode,
)
from support.coordinator import Peer


def main() -> None:
    endpoint, kind = sys.argv[1:]
    body = encode(Log() if kind == "queries" else Transact((Put("flood.md", b"x" * 2048),)))
    done = busy = number = 0
    with Peer(endpoint, f"flooder-{kind}") as peer:
        peer.opened()
        print("flooding", flush=True)  # noqa: T201 - the parent waits for it
        ended = False
        while not ended:
            for _ in range(200):
                number += 1
                envelope = encode(RequestEnvelope(PROTOCOL_VERSION, peer.key, number))
                try:
                    peer.socket.send_multipart((envelope, body), zmq.Flag.NOBLOCK)
                except zmq.Again:
                    # The coordinator takes no more of ours just now.
                    peer.socket.poll(1)
                    break
            while peer.socket.poll(0):
                reply = decode_reply(peer.socket.recv_multipart()[1])
                refused = isinstance(reply, Refused) and reply.error.code is Busy.code
                done, busy = done + (not refused), busy + refused
            ended = bool(select.select([sys.stdin], [], [], 0)[0])
    print(f"{number} {done} {busy}", flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
