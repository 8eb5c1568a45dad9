"""Positions: GEOADD GEOPOS GEODIST GEOHASH GEOSEARCH GEOSEARCHSTORE and the older GEORADIUS and GEORADIUSBYMEMBER.

A position is a score of a sorted set: 26 bits of latitude (within 85.05112878 degrees) and 26 of longitude, interleaved,
longitude first. Distances are haversine over a sphere of 6372797.560856 m, as Redis computes them.
A search looks at the cells of one size that its bounding box touches, at most four of them, or at everything where the box
meets a pole or the date line.
Effects: in the client's words.
Deviations: without ASC or DESC members come by score, not in the order of Redis' nine cells.
"""

from __future__ import annotations

import math
from fractions import Fraction

from protocols.resp.call import Call
from protocols.resp.errors import SYNTAX, CommandError
from protocols.resp.numbers import find_float, float_of, integer_of, long_double_text
from protocols.resp.state import Ranking
from protocols.resp.table import Handlers
from protocols.resp.wire import EMPTY, ZERO, array_of, bulk, bulks, integer, null, null_array
from protocols.resp.zsets import Pair, store, zadd

LONGITUDE_MAX = 180.0
LATITUDE_MAX = 85.05112878
STEPS = 26
RADIUS_M = 6372797.560856
UNITS = {b"m": 1.0, b"km": 1000.0, b"ft": 0.3048, b"mi": 1609.34}
ALPHABET = b"0123456789bcdefghjkmnpqrstuvwxyz"
NO_MEMBER = "ERR could not decode requested zset member"
Point = tuple[float, float]
"""Longitude, latitude."""


def spread(value: int) -> int:
    """32 bits with a 0 in front of each."""
    value = (value | value << 16) & 0x0000FFFF0000FFFF
    value = (value | value << 8) & 0x00FF00FF00FF00FF
    value = (value | value << 4) & 0x0F0F0F0F0F0F0F0F
    value = (value | value << 2) & 0x3333333333333333
    return (value | value << 1) & 0x5555555555555555


def gathered(value: int) -> int:
    """Every second bit, the lowest first."""
    value &= 0x5555555555555555
    value = (value | value >> 1) & 0x3333333333333333
    value = (value | value >> 2) & 0x0F0F0F0F0F0F0F0F
    value = (value | value >> 4) & 0x00FF00FF00FF00FF
    value = (value | value >> 8) & 0x0000FFFF0000FFFF
    return (value | value >> 16) & 0xFFFFFFFF


def cell(point: Point, steps: int = STEPS, latitude_max: float = LATITUDE_MAX) -> int:
    """The cell of a point at this resolution."""
    scale = 1 << steps
    column = int((point[0] + LONGITUDE_MAX) / (2 * LONGITUDE_MAX) * scale)
    row = int((point[1] + latitude_max) / (2 * latitude_max) * scale)
    return spread(row) | spread(column) << 1  # 180 degrees is a column of its own, as in Redis


def point_of(score: float) -> Point:
    """The middle of a score's cell."""
    # any score may be taken for a position: as x86-64 casts a double
    bits = 0 if score >= 2.0**64 else 1 << 63 if score < -(2.0**63) else int(score) & (1 << 64) - 1
    row, column = gathered(bits), gathered(bits >> 1)
    scale = 1 << STEPS

    def middle(at: int, limit: float) -> float:
        low, high = -limit + (at / scale) * (2 * limit), -limit + ((at + 1) / scale) * (2 * limit)
        return min(max((low + high) / 2, -limit), limit)

    return middle(column, LONGITUDE_MAX), middle(row, LATITUDE_MAX)


def distance_m(first: Point, second: Point) -> float:
    longitude1, latitude1, longitude2, latitude2 = map(math.radians, (*first, *second))
    u = math.sin((latitude2 - latitude1) / 2)
    v = math.sin((longitude2 - longitude1) / 2)
    return 2.0 * RADIUS_M * math.asin(min(1.0, math.sqrt(u * u + math.cos(latitude1) * math.cos(latitude2) * v * v)))


def read_point(longitude: bytes, latitude: bytes) -> Point:
    """
    Raises:
        CommandError: not numbers, or beyond what can be kept.
    """
    point = float_of(longitude), float_of(latitude)
    if not (-LONGITUDE_MAX <= point[0] <= LONGITUDE_MAX and -LATITUDE_MAX <= point[1] <= LATITUDE_MAX):
        raise CommandError(f"ERR invalid longitude,latitude pair {point[0]:f},{point[1]:f}")
    return point


def unit_of(word: bytes) -> float:
    found = UNITS.get(word.lower())
    if found is None:
        raise CommandError("ERR unsupported unit provided. please use M, KM, FT, MI")
    return found


def length_of(word: bytes, name: str) -> float:
    value = find_float(word)
    if value is None:
        raise CommandError(f"ERR need numeric {name}")
    if name == "radius" and value < 0:
        raise CommandError("ERR radius cannot be negative")
    return value


def distance_reply(meters: float) -> bytes:
    return bulk(b"%.4f" % meters)


def coordinate_reply(value: float, protocol: int) -> bytes:
    text = long_double_text(Fraction(value))
    return b",%b\r\n" % text if protocol == 3 else bulk(text)


def point_reply(point: Point, protocol: int) -> bytes:
    return array_of([coordinate_reply(value, protocol) for value in point])


def geoadd(call: Call, words: list[bytes]) -> bytes:
    at = 2
    while at < len(words) and words[at].upper() in (b"NX", b"XX", b"CH"):
        at += 1
    options = [word.upper() for word in words[2:at]]
    rest = words[at:]
    if len(rest) % 3 or (b"NX" in options and b"XX" in options):
        raise CommandError(SYNTAX)
    pairs: list[bytes] = []
    for index in range(0, len(rest), 3):
        pairs += (b"%d" % cell(read_point(rest[index], rest[index + 1])), rest[index + 2])
    return zadd(call, [b"ZADD", words[1], *options, *pairs])


def geopos(call: Call, words: list[bytes]) -> bytes:
    ranking = call.find_zset(words[1])
    scores = ranking.scores if ranking is not None else {}
    found = [scores.get(member) for member in words[2:]]
    nothing = null_array(call.protocol)
    return array_of([nothing if score is None else point_reply(point_of(score), call.protocol) for score in found])


def geodist(call: Call, words: list[bytes]) -> bytes:
    if len(words) > 5:
        raise CommandError(SYNTAX)
    unit = unit_of(words[4]) if len(words) == 5 else 1.0
    ranking = call.find_zset(words[1])
    scores = ranking.scores if ranking is not None else {}
    first, second = scores.get(words[2]), scores.get(words[3])
    if first is None or second is None:
        return null(call.protocol)
    return distance_reply(distance_m(point_of(first), point_of(second)) / unit)


def geohash(call: Call, words: list[bytes]) -> bytes:
    ranking = call.find_zset(words[1])
    scores = ranking.scores if ranking is not None else {}
    replies = []
    for member in words[2:]:
        score = scores.get(member)
        if score is None:
            replies.append(null(call.protocol))
            continue
        bits = cell(point_of(score), latitude_max=90.0)
        text = bytes(ALPHABET[bits >> (52 - 5 * (at + 1)) & 31] for at in range(10))
        replies.append(bulk(text + b"0"))
    return array_of(replies)


class Search:
    """What a search wants: a shape around a point, and what to say of whom it finds."""

    def __init__(self) -> None:
        self.center: Point | None = None
        self.member: bytes | None = None
        self.radius_m = -1.0
        self.box_m: tuple[float, float] | None = None
        self.unit = 1.0
        self.order = b""
        self.count = 0
        self.any = False
        self.with_distance = self.with_hash = self.with_point = False
        self.target: bytes | None = None
        self.store_distance = False

    def reach_m(self) -> tuple[float, float]:
        """Half the width and half the height of what it must look at."""
        return (self.box_m[0] / 2, self.box_m[1] / 2) if self.box_m is not None else (self.radius_m, self.radius_m)

    def distance(self, center: Point, point: Point) -> float | None:
        """How far away, in meters; None: outside."""
        if self.box_m is not None:
            if distance_m((0.0, point[1]), (0.0, center[1])) > self.box_m[1] / 2:
                return None
            if distance_m(point, (center[0], point[1])) > self.box_m[0] / 2:
                return None
            return distance_m(center, point)
        meters = distance_m(center, point)
        return meters if meters <= self.radius_m else None


def spans_of(center: Point, width_m: float, height_m: float) -> list[tuple[float, float]]:
    """Ranges of scores, half-open, that hold every point of the box around a center."""
    everything = [(0.0, 2.0**53)]
    up = math.degrees(height_m / RADIUS_M) * 1.01 + 1e-9
    top = abs(center[1]) + up
    if top >= LATITUDE_MAX:
        return everything
    aside = math.degrees(width_m / RADIUS_M / math.cos(math.radians(top))) * 1.01 + 1e-9
    west, east = center[0] - aside, center[0] + aside
    if west < -LONGITUDE_MAX or east >= LONGITUDE_MAX:
        return everything
    steps = STEPS
    while steps and (2 * LONGITUDE_MAX / (1 << steps) < 2 * aside or 2 * LATITUDE_MAX / (1 << steps) < 2 * up):
        steps -= 1
    if steps < 2:
        return everything
    corners = {cell((x, y), steps) for x in (west, east) for y in (center[1] - up, center[1] + up)}
    shift = 52 - 2 * steps
    return [(float(corner << shift), float(corner + 1 << shift)) for corner in sorted(corners)]


def find(ranking: Ranking, search: Search, center: Point) -> list[tuple[float, float, bytes]]:
    """(distance, score, member) of all inside, in the order asked for."""
    found: list[tuple[float, float, bytes]] = []
    order = ranking.order
    for low, high in spans_of(center, *search.reach_m()):
        for score, member in order.islice(order.bisect_left((low, b"")), order.bisect_left((high, b""))):
            meters = search.distance(center, point_of(score))
            if meters is not None:
                found.append((meters, score, member))
                if search.any and len(found) >= search.count:
                    break
        if search.any and len(found) >= search.count:
            break
    if search.order or (search.count and not search.any):
        found.sort(key=lambda one: one[0], reverse=search.order == b"DESC")
    return found[: search.count] if search.count else found


def read_options(call: Call, search: Search, words: list[bytes], at: int, general: bool, storing: bool) -> None:
    """What follows the key (GEOSEARCH) or the radius.

    Raises:
        CommandError: as Redis for each word it cannot read.
    """
    shape = wanted_from = b""
    while at < len(words):
        option = words[at].upper()
        left = len(words) - at - 1
        if option in (b"WITHDIST", b"WITHHASH", b"WITHCOORD"):
            search.with_distance |= option == b"WITHDIST"
            search.with_hash |= option == b"WITHHASH"
            search.with_point |= option == b"WITHCOORD"
        elif option == b"ANY":
            search.any = True
        elif option in (b"ASC", b"DESC"):
            search.order = option
        elif option == b"COUNT" and left >= 1:
            search.count = integer_of(words[at + 1])
            if search.count <= 0:
                raise CommandError("ERR COUNT must be > 0")
            at += 1
        elif option in (b"STORE", b"STOREDIST") and not general and not call.name.endswith("_ro") and left >= 1:
            search.target = words[at + 1]
            search.store_distance = option == b"STOREDIST"
            at += 1
        elif option == b"STOREDIST" and storing:
            search.store_distance = True
        elif option == b"FROMMEMBER" and general and left >= 1 and wanted_from != b"FROMLONLAT":
            wanted_from = option
            search.member = words[at + 1]
            locate(call, search, words[2 if storing else 1])
            at += 1
        elif option == b"FROMLONLAT" and general and left >= 2 and wanted_from != b"FROMMEMBER":
            wanted_from = option
            search.center = read_point(words[at + 1], words[at + 2])
            at += 2
        elif option == b"BYRADIUS" and general and left >= 2 and shape != b"BYBOX":
            shape = option
            search.radius_m = length_of(words[at + 1], "radius")
            search.unit = unit_of(words[at + 2])
            search.radius_m *= search.unit
            at += 2
        elif option == b"BYBOX" and general and left >= 3 and shape != b"BYRADIUS":
            shape = option
            width, height = length_of(words[at + 1], "width"), length_of(words[at + 2], "height")
            if width < 0 or height < 0:
                raise CommandError("ERR height or width cannot be negative")
            search.unit = unit_of(words[at + 3])
            search.box_m = width * search.unit, height * search.unit
            at += 3
        else:
            raise CommandError(SYNTAX)
        at += 1
    shown = search.with_distance or search.with_hash or search.with_point
    if (search.target is not None or storing) and shown:
        what = "GEOSEARCHSTORE" if storing else "STORE option in GEORADIUS"
        raise CommandError(f"ERR {what} is not compatible with WITHDIST, WITHHASH and WITHCOORD options")
    if general and not wanted_from:
        name = words[0].decode()
        raise CommandError(f"ERR exactly one of FROMMEMBER or FROMLONLAT can be specified for {name}")
    if general and not shape:
        raise CommandError(f"ERR exactly one of BYRADIUS and BYBOX can be specified for {words[0].decode()}")
    if search.any and not search.count:
        raise CommandError("ERR the ANY argument requires COUNT argument")


def locate(call: Call, search: Search, key: bytes) -> None:
    """The center is where a member is; nowhere, if there is no such key."""
    ranking = call.find_zset(key)
    if ranking is None or search.member is None:
        return
    score = ranking.scores.get(search.member)
    if score is None:
        raise CommandError(NO_MEMBER)
    search.center = point_of(score)


def search(call: Call, words: list[bytes]) -> bytes:
    """All of the searching commands."""
    name = call.name
    storing = name == "geosearchstore"
    general = name.startswith("geosearch")
    key = words[2 if storing else 1]
    wanted = Search()
    call.find_zset(key)
    if general:
        read_options(call, wanted, words, 3 if storing else 2, True, storing)
    elif name.startswith("georadiusbymember"):
        wanted.member = words[2]
        locate(call, wanted, key)
        wanted.radius_m, wanted.unit = length_of(words[3], "radius"), unit_of(words[4])
        wanted.radius_m *= wanted.unit
        read_options(call, wanted, words, 5, False, False)
    else:
        wanted.center = read_point(words[2], words[3])
        wanted.radius_m, wanted.unit = length_of(words[4], "radius"), unit_of(words[5])
        wanted.radius_m *= wanted.unit
        read_options(call, wanted, words, 6, False, False)
    if storing:
        wanted.target = words[1]
    ranking = call.find_zset(key)
    found = find(ranking, wanted, wanted.center) if ranking is not None and wanted.center is not None else []
    if wanted.target is not None:
        pairs: list[Pair] = [
            (meters / wanted.unit if wanted.store_distance else score, member) for meters, score, member in found
        ]
        if not pairs and call.find(wanted.target) is None:
            return ZERO
        return store(call, wanted.target, pairs, b"geosearchstore" if general else b"georadiusstore")
    if not found:
        return EMPTY
    if not (wanted.with_distance or wanted.with_hash or wanted.with_point):
        return bulks([member for _, _, member in found])
    rows = []
    for meters, score, member in found:
        row = [bulk(member)]
        if wanted.with_distance:
            row.append(distance_reply(meters / wanted.unit))
        if wanted.with_hash:
            row.append(integer(int(score)))
        if wanted.with_point:
            row.append(point_reply(point_of(score), call.protocol))
        rows.append(array_of(row))
    return array_of(rows)


HANDLERS: Handlers = {
    "geoadd": geoadd, "geopos": geopos, "geodist": geodist, "geohash": geohash, "geosearch": search,
    "geosearchstore": search, "georadius": search, "georadius_ro": search, "georadiusbymember": search,
    "georadiusbymember_ro": search,
}  # fmt: skip
