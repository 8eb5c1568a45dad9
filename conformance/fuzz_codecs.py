"""Random bytes against the codecs alone, for ``conformance.fuzz``: however a stream is cut, the same frames come out.

A *reader* is given a stream in pieces and answers what it found: frames as values, and last how it broke, if it did. What
must hold: nothing but the codec's own errors leaves it, any cut gives the same, and a packet that can be written again
reads as what it was.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from conformance.fuzz_grammars import GRAMMARS
from protocols import websocket
from protocols.api import WireError
from protocols.kafka import wire as kafka
from protocols.mqtt import wire as mqtt
from protocols.nats import wire as nats
from protocols.resp import wire as resp

PIECES = (1, 2, 5, 40)
REQUEST_BYTES_MAX = 1 << 20
Found = list[object]
Reader = Callable[[Sequence[bytes]], Found]


def read_nats(pieces: Sequence[bytes]) -> Found:
    found: Found = []
    frame, buffer = nats.Frame(), b""
    for piece in pieces:
        buffer += piece
        at = 0
        while at < len(buffer):
            kind = frame.parse(buffer, at, len(buffer))
            if kind < 0:
                return [*found, ("broken", kind)]
            if kind == 0:
                break
            if kind in (nats.PUB, nats.HPUB):
                block = buffer[frame.payload_start : frame.payload_start + frame.header_bytes]
                places = (frame.subject_start, frame.subject_end), (frame.reply_start, frame.reply_end)
                found.append(
                    (
                        kind,
                        *(buffer[a:b] for a, b in places),
                        nats.read_block(block) if block else None,
                        frame.total_bytes,
                    )
                )
            else:
                found.append((kind, buffer[frame.argument_start : frame.argument_end]))
            at = frame.next
        buffer = buffer[at:]
    return found


def read_mqtt(level: int) -> Reader:
    def read(pieces: Sequence[bytes]) -> Found:
        found: Found = []
        buffer = b""
        for piece in pieces:
            buffer += piece
            at = 0
            try:
                while (taken := mqtt.decode(buffer, at, len(buffer), level, REQUEST_BYTES_MAX)) is not None:
                    packet, at = taken
                    found.append(packet)
            except mqtt.Malformed:
                return [*found, ("broken",)]  # of two faults, whichever shows first
            buffer = buffer[at:]
        return found

    return read


def read_resp(pieces: Sequence[bytes]) -> Found:
    found: Found = []
    run, buffer = resp.Run(), bytearray()
    for piece in pieces:
        buffer += piece
        position = 0
        while True:
            state = run.cut(buffer, position, len(buffer))
            at = 0
            for _ in range(run.count):
                found.append(run.arguments(at))
                at += 4 + 2 * run.numbers[at + 1]
            position = run.taken
            if state == resp.INLINE:
                line = bytes(buffer[run.line_start : run.line_end])
                found.append(resp.split_inline(line.removesuffix(b"\r")))
            elif state == resp.BROKEN:
                found.append(("broken", run.error))
                run.release()
                return found
            elif state == resp.COMPLETE:
                break
        run.release()
        del buffer[:position]
    return found


def read_kafka(pieces: Sequence[bytes]) -> Found:
    found: Found = []
    buffer = bytearray()
    for piece in pieces:
        buffer += piece
        at = 0
        try:
            while size := kafka.frame_bytes(buffer, at, len(buffer), REQUEST_BYTES_MAX, REQUEST_BYTES_MAX):
                if len(buffer) - at < size:
                    break
                found.append(kafka.read_header(memoryview(bytes(buffer[at + 4 : at + size]))))
                at += size
        except WireError as error:
            return [*found, ("broken", str(error))]
        del buffer[:at]
    return found


def read_websocket(pieces: Sequence[bytes]) -> Found:
    decoder = websocket.Decoder()
    for piece in pieces:
        decoder.feed(piece)
    return [bytes(decoder.plain), list(decoder.control), decoder.failed, decoder.closed]


def websocket_stream(chance: random.Random) -> bytes:
    """Masked frames, mostly right: data whole and in fragments, control frames between, lengths of all three sizes."""
    stream = b""
    for _ in range(chance.randrange(1, 6)):
        opcode = chance.choice((0, 1, 2, 2, 2, 8, 9, 10, chance.randrange(16)))
        first = (
            (0x80 if chance.random() < 0.7 else 0)
            | opcode
            | (chance.choice((0x10, 0x40)) if chance.random() < 0.03 else 0)
        )
        payload = chance.randbytes(
            chance.choice((0, 1, 2, 125, 126, 300, 66_000)) if opcode < 8 else chance.choice((0, 2, 100, 126))
        )
        masked = 0x80 if chance.random() < 0.97 else 0
        size = len(payload)
        head = (
            bytes([first, masked | size])
            if size < 126
            else bytes([first, masked | 126]) + size.to_bytes(2, "big")
            if size < 65536
            else bytes([first, masked | 127]) + size.to_bytes(8, "big")
        )
        mask = chance.randbytes(4) if masked else b""
        stream += head + mask + payload
    return stream


def protocol_stream(protocol: str) -> Callable[[random.Random], bytes]:
    def stream(chance: random.Random) -> bytes:
        grammar = GRAMMARS[protocol](chance)
        opening = grammar.opening() if chance.random() < 0.5 else b""
        return opening + b"".join(grammar.message() for _ in range(chance.randrange(1, 8)))

    return stream


CODECS: dict[str, tuple[Callable[[random.Random], bytes], Reader]] = {
    "kafka codec": (protocol_stream("kafka"), read_kafka),
    "mqtt 3 codec": (protocol_stream("mqtt"), read_mqtt(4)),
    "mqtt 5 codec": (protocol_stream("mqtt"), read_mqtt(5)),
    "nats codec": (protocol_stream("nats"), read_nats),
    "resp codec": (protocol_stream("resp"), read_resp),
    "websocket codec": (websocket_stream, read_websocket),
}
"""Name -> how a stream is made, and who reads it."""


def pieces_of(data: bytes, chance: random.Random) -> list[bytes]:
    ends = sorted({chance.randrange(len(data) + 1) for _ in range(chance.choice(PIECES))} | {len(data)})
    return [data[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def check_codec(name: str, data: bytes, chance: random.Random) -> str:
    """What is wrong with how this codec reads the stream; empty: nothing."""
    read = CODECS[name][1]
    whole = read([data])
    cut = pieces_of(data, chance)
    found = read(cut)
    if found == whole:
        return ""
    at = next(
        (index for index, (a, b) in enumerate(zip(whole, found, strict=False)) if a != b), min(len(whole), len(found))
    )
    return f"cut at {[len(piece) for piece in cut]}: frame {at} is {found[at : at + 1]!r:.200}, whole {whole[at : at + 1]!r:.200}"
