"""Django's Redis cache backend."""

from __future__ import annotations

import time

from django.conf import settings
from django.core.cache.backends.redis import RedisCache

from conformance.matrix.cells import Cells, Place, error_of

cells = Cells("resp", "Django cache", "django", together=1)
settings.configure(USE_TZ=True)


def cache(place: Place, prefix: str = "") -> RedisCache:
    return RedisCache(f"redis://{place.address}/13", {"KEY_PREFIX": prefix or place.name("prefix")})


@cells.add("cache: set and get")
def set_and_get(place: Place) -> object:
    c = cache(place)
    told = [
        c.set("k", {"a": [1, 2]}),
        c.get("k"),
        c.get("none", "default"),
        c.add("k", 1),
        c.add("new", 1),
        c.has_key("new"),
    ]
    return [*told, c.delete("k"), c.delete("k"), c.get("k")]


@cells.add("cache: timeouts")
def timeouts(place: Place) -> object:
    c = cache(place)
    c.set("short", 1, timeout=1)
    c.set("never", 1, timeout=None)
    c.set("gone", 1, timeout=0)
    told = [c.get("short"), c.get("never"), c.get("gone"), c.touch("never", 100), c.touch("none")]
    deadline = time.monotonic() + 20
    while c.get("short") is not None and time.monotonic() < deadline:
        time.sleep(0.02)
    return [*told, c.get("short")]


@cells.add("cache: many at once")
def many(place: Place) -> object:
    c = cache(place)
    told = [
        c.set_many({"a": 1, "b": "two"}, timeout=100),
        c.get_many(["a", "b", "none"]),
        c.delete_many(["a"]),
        c.get_many(["a", "b"]),
    ]
    return told


@cells.add("cache: counters")
def counters(place: Place) -> object:
    c = cache(place)
    c.set("n", 5)
    return [c.incr("n"), c.incr("n", 10), c.decr("n", 3), c.get("n"), error_of(lambda: c.incr("none")).split(" ")[0]]


@cells.add("cache: versions and get_or_set")
def versions(place: Place) -> object:
    c = cache(place)
    c.set("k", "one", version=1)
    told = [
        c.incr_version("k"),
        c.get("k"),
        c.get("k", version=2),
        c.get_or_set("made", lambda: "made"),
        c.get_or_set("made", "other"),
    ]
    return told


@cells.add("cache: clear")
def clear(place: Place) -> object:
    c = cache(place)
    c.set("k", 1)
    return [c.clear(), c.get("k")]
