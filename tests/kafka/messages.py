"""Random messages of every definition in ``protocols.kafka.schema``."""

from __future__ import annotations

import random
from typing import Any

from protocols.kafka.codec import Codecs
from protocols.kafka.schema import APIS, Api, Field

BITS = {"int8": 8, "int16": 16, "int32": 32, "int64": 64}
WORDS = ("", "a", "orders.eu", "väärtus", "x" * 200)


def spoken() -> list[tuple[Api, int]]:
    """Every (API, version)."""
    return [(api, version) for api in APIS.values() for version in range(api.first, api.last + 1)]


def message(codecs: Codecs, kind: str, api: Api, version: int, chance: random.Random, narrow: bool = False) -> Any:
    """A message with random fields; ``narrow`` keeps integers small and positive."""
    return _structure(codecs, kind, api, (), getattr(api, kind), version, chance, narrow)


def _structure(
    codecs: Codecs,
    kind: str,
    api: Api,
    path: tuple[str, ...],
    fields: tuple[Field, ...],
    version: int,
    chance: random.Random,
    narrow: bool,
) -> Any:
    made = codecs.structure(kind, api.key, *path)()
    for field in fields:
        if field.spoken(version):
            setattr(made, field.name, _value(codecs, kind, api, path, field, version, chance, narrow))
    return made


def _value(
    codecs: Codecs,
    kind: str,
    api: Api,
    path: tuple[str, ...],
    field: Field,
    version: int,
    chance: random.Random,
    narrow: bool,
) -> Any:
    if field.tag >= 0 and chance.random() < 0.5:
        return field.default
    if field.nullable(version) and chance.random() < 0.3:
        return None
    count = chance.choice((1, 2, 3)) if field.tag >= 0 else chance.choice((0, 1, 2, 5))
    if field.array:
        return [_element(codecs, kind, api, path, field, version, chance, narrow) for _ in range(count)]
    return _element(codecs, kind, api, path, field, version, chance, narrow)


def _element(
    codecs: Codecs,
    kind: str,
    api: Api,
    path: tuple[str, ...],
    field: Field,
    version: int,
    chance: random.Random,
    narrow: bool,
) -> Any:
    if field.kind == "struct":
        made = _structure(codecs, kind, api, (*path, field.name), field.fields, version, chance, narrow)
        if field.tag >= 0 and not field.array:  # a structure of defaults only would be left out by others
            setattr(made, field.fields[0].name, 5)
        return made
    if field.kind == "bool":
        return chance.random() < 0.5
    if field.kind in BITS:
        bits = 7 if narrow else BITS[field.kind] - 1
        return chance.getrandbits(bits) - (0 if narrow else chance.choice((0, 1 << bits)))
    if field.kind == "string":
        return chance.choice(WORDS)
    if field.kind == "uuid":
        return chance.randbytes(16)
    return chance.randbytes(chance.choice((1, 3, 200)))
