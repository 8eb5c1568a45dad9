"""A stream's manifest: what its folder holds, for who has only the folder.

Two lines of text: a JSON object, then its CRC32C in hexadecimal. Replaced as a whole (``manifest.new`` is renamed). Its
``generation`` is also in the ends file: a manifest that says another is an old copy. A lost, rotten or old one is rebuilt
from the names and headers of the segments, proved by the chain value of the ends file.
"""

from __future__ import annotations

import json

from crc32c import crc32c

from substrate.disk.ends import NO_CHAIN, UnknownVersion, Unsound
from substrate.disk.stream import DiskStream, Sealed

NAME = "manifest"
EPOCHS = "leader-epoch-checkpoint"
VERSION = 1
REWRITTEN_VERSION = 2
"""Where some segment was written anew: its entry has two fields more, its content's chain value and its records."""
SETTINGS = (
    "durability", "retention_ms", "retention_bytes", "retention_records", "segment_bytes", "record_bytes_max", "interval_ms",
)  # fmt: skip
"""What an engine goes by; all else of a stream's configuration is the stream layer's."""


def encode(stream: DiskStream) -> bytes:
    config = {name: getattr(stream.config, name) for name in SETTINGS}
    config["durability"] = stream.config.durability.value
    rewritten = any(sealed.content != NO_CHAIN for sealed in stream.sealed or ())
    text = json.dumps(
        {
            "version": REWRITTEN_VERSION if rewritten else VERSION,
            "stream": stream.id,
            "label": stream.label,
            "generation": stream.generation,
            "start": stream.start,
            "config": config,
            "first_chain": stream.first_chain.hex(),
            "sealed": [
                [sealed.base, sealed.end, sealed.size, sealed.max_timestamp_ms, sealed.chain.hex()]
                + ([sealed.content.hex(), sealed.records] if sealed.content != NO_CHAIN else [])
                for sealed in stream.sealed or ()
            ],
            "active": stream.active,
        },
        separators=(",", ":"),
    ).encode()
    return text + b"\n%08x\n" % crc32c(text)


def decode(data: bytes) -> tuple[int, int, bytes, list[Sealed]]:
    """Stream id, generation, the chain value before the first segment, the sealed segments.

    Raises:
        Unsound: it is not what was written.
        UnknownVersion: it is of another version.
    """
    lines = data.split(b"\n")
    if len(lines) != 3 or lines[2] or lines[1] != b"%08x" % crc32c(lines[0]):
        raise Unsound("manifest does not fit its CRC")
    found = json.loads(lines[0])
    if found["version"] not in (VERSION, REWRITTEN_VERSION):
        raise UnknownVersion(f"manifest of version {found['version']}; known: {VERSION}, {REWRITTEN_VERSION}")
    sealed = []
    for base, end, size, time, chain, *rewritten in found["sealed"]:
        sealed.append(Sealed(base, end, size, time, bytes.fromhex(chain)))
        if rewritten:
            sealed[-1].content, sealed[-1].records = bytes.fromhex(rewritten[0]), rewritten[1]
    return found["stream"], found["generation"], bytes.fromhex(found["first_chain"]), sealed


def encode_epochs(stream: DiskStream) -> bytes:
    """Kafka's leader-epoch-checkpoint: version 0, count, then epoch and first position, a line each."""
    lines = [f"{epoch} {base}\n" for epoch, base in stream.epochs]
    return f"0\n{len(lines)}\n{''.join(lines)}".encode()
