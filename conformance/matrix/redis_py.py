"""redis-py: every cell in RESP2 and in RESP3."""

from __future__ import annotations

import functools
import threading
import time
from typing import Any

import redis

from conformance.matrix.cells import Cells, Place, error_of

cells = Cells("resp", "redis-py", "redis", variants=("RESP2", "RESP3"))
BLOCKED_S = 20.0


def client(place: Place, **settings: Any) -> redis.Redis:
    return redis.Redis(
        host=place.host, port=place.port, protocol=int(place.variant[-1]), socket_timeout=BLOCKED_S, **settings
    )


def text_client(place: Place) -> redis.Redis:
    return client(place, decode_responses=True)


@cells.add("strings: set and get")
def set_and_get(place: Place) -> object:
    r, key = client(place), place.name("key")
    return [r.set(key, b"\x00binary\xff"), r.get(key), r.get(key + "none"), r.strlen(key), r.delete(key), r.exists(key)]


@cells.add("strings: set options")
def set_options(place: Place) -> object:
    r, key = text_client(place), place.name("key")
    told = [r.set(key, 1, nx=True), r.set(key, 2, nx=True), r.set(key, 3, xx=True, get=True)]
    told += [r.set(key, 4, ex=100), 90 < r.ttl(key) <= 100, r.set(key, 5, keepttl=True), 90 < r.ttl(key) <= 100]
    return [*told, r.set(key, 6, px=50_000), 40_000 < r.pttl(key) <= 50_000, r.get(key)]


@cells.add("strings: counters")
def counters(place: Place) -> object:
    r, key = text_client(place), place.name("key")
    told = [r.incr(key), r.incrby(key, 10), r.decr(key), r.decrby(key, 5), r.incrbyfloat(key, 0.5)]
    return [*told, r.get(key), error_of(lambda: r.incr(key))]


@cells.add("strings: many keys at once")
def many_keys(place: Place) -> object:
    r, a, b = text_client(place), place.name("a"), place.name("b")
    return [r.mset({a: 1, b: 2}), r.mget(a, b, "nothere-x"), r.msetnx({a: 3, place.name("c"): 4}), r.delete(a, b)]


@cells.add("strings: ranges")
def ranges(place: Place) -> object:
    r, key = text_client(place), place.name("key")
    return [
        r.append(key, "hello"),
        r.append(key, " world"),
        r.getrange(key, 0, 4),
        r.setrange(key, 6, "Redis"),
        r.get(key),
    ]


@cells.add("strings: getdel, getex, getset")
def get_and_change(place: Place) -> object:
    r, key = text_client(place), place.name("key")
    r.set(key, "a")
    told = [r.getset(key, "b"), r.getex(key, ex=100), r.ttl(key) > 90, r.getex(key, persist=True), r.ttl(key)]
    return [*told, r.getdel(key), r.get(key)]


@cells.add("strings: longest common subsequence")
def common_subsequence(place: Place) -> object:
    r, a, b = text_client(place), place.name("a"), place.name("b")
    r.mset({a: "ohmytext", b: "mynewtext"})
    return [r.execute_command("LCS", a, b), r.execute_command("LCS", a, b, "LEN")]


@cells.add("strings: a value of 8 MiB")
def large_value(place: Place) -> object:
    r, key, value = client(place), place.name("key"), bytes(range(256)) * 32768
    return [r.set(key, value), r.get(key) == value, r.delete(key)]


@cells.add("keys: expire and ttl")
def expire(place: Place) -> object:
    r, key = text_client(place), place.name("key")
    r.set(key, 1)
    told: list[object] = [r.ttl(key), r.expire(key, 100), r.expire(key, 10, gt=True), r.expire(key, 200, gt=True)]
    told += [190 < r.ttl(key) <= 200, r.persist(key), r.ttl(key), r.expireat(key, 4102444800), r.expiretime(key)]
    return [*told, r.pexpireat(key, 4102444800123), r.pexpiretime(key), r.expire(key, -1), r.exists(key), r.ttl(key)]


@cells.add("keys: an expired key is gone")
def expired(place: Place) -> object:
    r, key = text_client(place), place.name("key")
    r.set(key, 1, px=30)
    deadline = time.monotonic() + BLOCKED_S
    while r.exists(key) and time.monotonic() < deadline:
        time.sleep(0.005)
    return [r.get(key), r.ttl(key), r.exists(key)]


@cells.add("keys: rename, copy, type, touch")
def rename_and_copy(place: Place) -> object:
    r, a, b = text_client(place), place.name("a"), place.name("b")
    r.rpush(a, 1, 2)
    told: list[object] = [r.type(a), r.copy(a, b), r.copy(a, b), r.copy(a, b, replace=True), r.renamenx(a, b)]
    told += [r.rename(a, a + "2"), r.type(a), error_of(lambda: r.rename(a, b)), r.touch(a, b), r.unlink(b)]
    return told


@cells.add("keys: scan")
def scan(place: Place) -> object:
    r, prefix = text_client(place), place.name("scan")
    with r.pipeline(transaction=False) as pipeline:
        for number in range(500):
            pipeline.set(f"{prefix}:{number}", number)
        pipeline.rpush(f"{prefix}:list", 1)
        pipeline.execute()
    found = list(r.scan_iter(match=f"{prefix}:*", count=100))
    lists = list(r.scan_iter(match=f"{prefix}:*", count=100, _type="list"))
    return [len(set(found)), lists, len(r.keys(f"{prefix}:4?"))]


@cells.add("keys: sort")
def sort(place: Place) -> object:
    r, key = text_client(place), place.name("list")
    r.rpush(key, 3, 10, 2, 1)
    for number in (1, 2, 3, 10):
        r.set(f"{key}w{number}", -number)
    told = [r.sort(key), r.sort(key, desc=True, start=0, num=2), r.sort(key, alpha=True), r.sort(key, by=f"{key}w*")]
    return [
        *told,
        r.sort(key, by=f"{key}w*", get=[f"{key}w*", "#"]),
        r.sort(key, store=f"{key}d"),
        r.lrange(f"{key}d", 0, -1),
    ]


@cells.add("keys: object encoding")
def encoding(place: Place) -> object:
    r, key = text_client(place), place.name("key")
    told = []
    for value in ("12", "short", "x" * 100):
        r.set(key, value)
        told.append(r.object("encoding", key))
    for name, add in (("l", r.rpush), ("s", r.sadd)):
        add(key + name, 1, 2)
        told.append(r.object("encoding", key + name))
    r.hset(key + "h", "a", 1)
    r.zadd(key + "z", {"a": 1})
    return [*told, r.object("encoding", key + "h"), r.object("encoding", key + "z"), r.object("refcount", key)]


@cells.add("keys: dump and restore")
def dump(place: Place) -> object:
    r, key = client(place), place.name("key")
    r.set(key, "value")
    r.restore(key + "2", 0, r.dump(key))
    return [r.get(key + "2"), error_of(lambda: r.restore(key + "2", 0, b"bad payload"))]


@cells.add("keys: databases")
def databases(place: Place) -> object:
    key = place.name("key")
    nine, ten = client(place, db=9), client(place, db=10)
    nine.set(key, "nine")
    told = [ten.get(key), nine.move(key, 10), ten.get(key), nine.exists(key), ten.delete(key)]
    return [*told, error_of(lambda: nine.execute_command("SELECT", 99))]


@cells.add("hashes: fields")
def hash_fields(place: Place) -> object:
    r, key = text_client(place), place.name("hash")
    told: list[object] = [
        r.hset(key, mapping={"a": 1, "b": 2, "c": "x"}),
        r.hget(key, "a"),
        r.hmget(key, "a", "none"),
        r.hgetall(key),
    ]
    told += [
        r.hdel(key, "a", "none"),
        r.hexists(key, "a"),
        r.hlen(key),
        r.hkeys(key),
        r.hvals(key),
        r.hsetnx(key, "b", 9),
    ]
    return [
        *told,
        r.hincrby(key, "n", 5),
        r.hincrbyfloat(key, "n", 1.5),
        r.hstrlen(key, "c"),
        error_of(lambda: r.hincrby(key, "c")),
    ]


@cells.add("hashes: scan and random fields")
def hash_scan(place: Place) -> object:
    r, key = text_client(place), place.name("hash")
    r.hset(key, mapping={f"f{number}": number for number in range(300)})
    found = dict(r.hscan_iter(key, count=50))
    return [len(found), len(r.hrandfield(key, 5)), sorted(dict(r.hscan_iter(key, match="f1?")))]


@cells.add("lists: push, pop, range")
def lists(place: Place) -> object:
    r, key = text_client(place), place.name("list")
    told: list[object] = [
        r.rpush(key, "b", "c"),
        r.lpush(key, "a"),
        r.lrange(key, 0, -1),
        r.lindex(key, -1),
        r.llen(key),
    ]
    told += [
        r.linsert(key, "before", "c", "x"),
        r.lset(key, 0, "A"),
        r.lrem(key, 1, "x"),
        r.lpos(key, "c"),
        r.ltrim(key, 0, 1),
    ]
    told += [r.lpushx(key + "no", 1), r.rpop(key), r.lpop(key, 2), r.exists(key), error_of(lambda: r.lset(key, 0, 1))]
    return told


@cells.add("lists: move between")
def list_moves(place: Place) -> object:
    r, a, b = text_client(place), place.name("a"), place.name("b")
    r.rpush(a, 1, 2, 3)
    told = [
        r.lmove(a, b, "LEFT", "RIGHT"),
        r.rpoplpush(a, b),
        r.lrange(b, 0, -1),
        r.lmpop(2, a, b, direction="LEFT", count=5),
    ]
    return [*told, r.lrange(a, 0, -1)]


@cells.add("lists: blocking pop")
def blocking_pop(place: Place) -> object:
    r, key = text_client(place), place.name("list")
    pushed = threading.Timer(0.05, lambda: text_client(place).rpush(key, "late", "later"))
    pushed.start()
    told: list[object] = [r.blpop([key + "none", key], timeout=BLOCKED_S), r.brpop(key, timeout=1)]
    return [*told, r.blpop(key, timeout=0.05), r.blmove(key, key + "d", 0.05), r.blmpop(0.05, 1, key, direction="LEFT")]


@cells.add("lists: blocked clients are served in turn")
def served_in_turn(place: Place) -> object:
    key, served, threads = place.name("list"), [], []
    watcher = text_client(place)

    def wait(number: int, waiter: redis.Redis) -> None:
        served.append((number, waiter.blpop(key, timeout=BLOCKED_S)))

    for number in range(3):
        waiter = client(place, decode_responses=True, single_connection_client=True)
        id = waiter.client_id()
        threads.append(threading.Thread(target=wait, args=[number, waiter]))
        threads[-1].start()
        deadline = time.monotonic() + BLOCKED_S
        while "b" not in watcher.client_list(client_id=[id])[0]["flags"] and time.monotonic() < deadline:
            time.sleep(0.002)
    watcher.rpush(key, "a", "b", "c")
    for thread in threads:
        thread.join(BLOCKED_S)
    return sorted(served)


@cells.add("sets: members")
def sets(place: Place) -> object:
    r, key = text_client(place), place.name("set")
    told: list[object] = [
        r.sadd(key, "a", "b", "c"),
        r.sadd(key, "a"),
        r.sismember(key, "a"),
        r.smismember(key, ["a", "x"]),
    ]
    told += [
        sorted(r.smembers(key)),
        r.srem(key, "a", "x"),
        r.scard(key),
        len(r.srandmember(key, 5)),
        r.smove(key, key + "2", "b"),
    ]
    return [*told, {r.spop(key), r.spop(key)}, sorted(r.sscan_iter(key + "2"))]


@cells.add("sets: operations")
def set_operations(place: Place) -> object:
    r, a, b = text_client(place), place.name("a"), place.name("b")
    r.sadd(a, 1, 2, 3)
    r.sadd(b, 2, 3, 4)
    told = [sorted(r.sinter(a, b)), sorted(r.sunion(a, b)), sorted(r.sdiff(a, b)), r.sintercard(2, [a, b])]
    return [*told, r.sinterstore(a + "i", a, b), r.sunionstore(a + "u", a, b), r.sdiffstore(a + "d", a, b)]


@cells.add("sorted sets: scores and ranks")
def sorted_sets(place: Place) -> object:
    r, key = text_client(place), place.name("zset")
    told: list[object] = [
        r.zadd(key, {"a": 1, "b": 2, "c": 3.5}),
        r.zadd(key, {"a": 5}, gt=True, ch=True),
        r.zscore(key, "a"),
    ]
    told += [r.zincrby(key, 2, "b"), r.zrank(key, "c"), r.zrevrank(key, "c"), r.zmscore(key, ["a", "x"]), r.zcard(key)]
    told += [
        r.zrange(key, 0, -1, withscores=True),
        r.zcount(key, 4, "+inf"),
        r.zadd(key, {"a": 1}, nx=True),
        r.zadd(key, {"a": 1}, incr=True),
    ]
    return [*told, r.zrem(key, "a", "x"), r.zrange(key, 0, -1, desc=True), error_of(lambda: r.zadd(key, {"a": "nan"}))]


@cells.add("sorted sets: ranges by score and name")
def sorted_ranges(place: Place) -> object:
    r, key = text_client(place), place.name("zset")
    r.zadd(key, dict.fromkeys("abcdef", 0))
    r.zadd(key + "s", {name: index for index, name in enumerate("abcdef")})
    told = [
        r.zrangebylex(key, "[b", "(e"),
        r.zlexcount(key, "-", "+"),
        r.zrangebyscore(key + "s", "(1", 4, withscores=True),
    ]
    told += [
        r.zrange(key + "s", 4, 1, desc=True, byscore=True, offset=1, num=2),
        r.zrangestore(key + "t", key + "s", 0, 2),
    ]
    told += [r.zremrangebyscore(key + "s", 0, 1), r.zremrangebyrank(key + "s", 0, 0), r.zremrangebylex(key, "[a", "[b")]
    return [*told, r.zrange(key, 0, -1), r.zrange(key + "s", 0, -1)]


@cells.add("sorted sets: operations")
def sorted_operations(place: Place) -> object:
    r, a, b = text_client(place), place.name("a"), place.name("b")
    r.zadd(a, {"x": 1, "y": 2})
    r.zadd(b, {"y": 3, "z": 4})
    told = [
        r.zunion([a, b], withscores=True),
        r.zinter([a, b], aggregate="MAX", withscores=True),
        r.zdiff([a, b], withscores=True),
    ]
    told += [r.zunionstore(a + "u", {a: 2, b: 1}), r.zrange(a + "u", 0, -1, withscores=True), r.zintercard(2, [a, b])]
    return [*told, r.zpopmin(a), r.zpopmax(b, 2), r.zpopmin(a + "none")]


@cells.add("sorted sets: blocking pop")
def sorted_blocking(place: Place) -> object:
    r, key = text_client(place), place.name("zset")
    threading.Timer(0.05, lambda: text_client(place).zadd(key, {"a": 1, "b": 2, "c": 3})).start()
    told = [r.bzpopmin(key, timeout=BLOCKED_S), r.bzpopmax(key, timeout=1), r.bzmpop(0.1, 1, [key], min=True)]
    return [*told, r.bzpopmin(key, timeout=0.05), r.zmpop(1, [key], min=True)]


@cells.add("streams: append and read")
def streams(place: Place) -> object:
    r, key = text_client(place), place.name("stream")
    told: list[object] = [
        r.xadd(key, {"a": 1}, id="1-1"),
        r.xadd(key, {"b": 2}, id="1-*"),
        r.xadd(key, {"c": 3}, id="5-0"),
        r.xlen(key),
    ]
    told += [
        r.xrange(key),
        r.xrevrange(key, count=1),
        r.xread({key: "1-1"}, count=1),
        r.xdel(key, "1-2"),
        r.xtrim(key, maxlen=1, approximate=False),
    ]
    return [
        *told,
        r.xrange(key),
        error_of(lambda: r.xadd(key, {"a": 1}, id="1-1")),
        r.xadd(key + "n", {"a": 1}, nomkstream=True),
    ]


@cells.add("streams: blocking read")
def stream_blocking(place: Place) -> object:
    r, key = text_client(place), place.name("stream")
    threading.Timer(0.05, lambda: text_client(place).xadd(key, {"a": 1}, id="7-7")).start()
    return [r.xread({key: "$"}, block=int(BLOCKED_S * 1000)), r.xread({key: "$"}, block=30)]


@cells.add("streams: consumer groups")
def stream_groups(place: Place) -> object:
    r, key = text_client(place), place.name("stream")
    told: list[object] = [r.xgroup_create(key, "g", id="0", mkstream=True), error_of(lambda: r.xgroup_create(key, "g"))]
    for number in range(1, 5):
        r.xadd(key, {"n": number}, id=f"{number}-0")
    told += [
        r.xreadgroup("g", "one", {key: ">"}, count=2),
        r.xreadgroup("g", "two", {key: ">"}),
        r.xack(key, "g", "1-0", "9-9"),
    ]
    told += [r.xpending(key, "g"), r.xreadgroup("g", "one", {key: "0"})]
    told += [
        [
            (each["message_id"], each["consumer"], each["times_delivered"])
            for each in r.xpending_range(key, "g", "-", "+", 10)
        ]
    ]
    told += [
        r.xgroup_createconsumer(key, "g", "three"),
        r.xgroup_delconsumer(key, "g", "two"),
        r.xgroup_setid(key, "g", "0"),
    ]
    return [*told, error_of(lambda: r.xreadgroup("none", "one", {key: ">"})), r.xgroup_destroy(key, "g")]


@cells.add("streams: claim")
def stream_claim(place: Place) -> object:
    r, key = text_client(place), place.name("stream")
    r.xgroup_create(key, "g", id="0", mkstream=True)
    for number in range(1, 4):
        r.xadd(key, {"n": number}, id=f"{number}-0")
    r.xreadgroup("g", "one", {key: ">"})
    told = [r.xclaim(key, "g", "two", 0, ["1-0"]), r.xclaim(key, "g", "two", 0, ["2-0"], justid=True)]
    return [
        *told,
        r.xautoclaim(key, "g", "three", 0, count=2),
        r.xpending(key, "g"),
        r.xclaim(key, "g", "two", 9_999_999, ["3-0"]),
    ]


@cells.add("streams: info")
def stream_info(place: Place) -> object:
    r, key = text_client(place), place.name("stream")
    r.xadd(key, {"a": 1}, id="1-0")
    r.xadd(key, {"a": 2}, id="2-0")
    r.xgroup_create(key, "g", id="0")
    r.xreadgroup("g", "one", {key: ">"}, count=1)
    info = {name: value for name, value in r.xinfo_stream(key).items() if not name.startswith("radix")}
    consumers = [{name: each[name] for name in ("name", "pending")} for each in r.xinfo_consumers(key, "g")]
    return [info, r.xinfo_groups(key), consumers]


@cells.add("pub/sub: channels and patterns")
def pubsub(place: Place) -> object:
    r, channel = text_client(place), place.name("channel")
    subscription = r.pubsub()
    subscription.subscribe(channel)
    subscription.psubscribe(f"{channel}.*")
    told: list[object] = [subscription.get_message(timeout=BLOCKED_S) for _ in range(2)]
    told += [r.publish(channel, "one"), r.publish(f"{channel}.x", "two"), r.publish(f"{channel}none", "three")]
    told += [subscription.get_message(timeout=BLOCKED_S) for _ in range(2)]
    told += [r.pubsub_channels(f"{channel}*"), r.pubsub_numsub(channel), subscription.unsubscribe(channel)]
    return [*told, subscription.get_message(timeout=BLOCKED_S), r.publish(channel, "four")]


@cells.add("pub/sub: commands while subscribed")
def subscribed_mode(place: Place) -> object:
    connection = client(place).connection_pool.get_connection()
    channel = place.name("channel")
    told = []
    for command in (("SUBSCRIBE", channel), ("GET", "k"), ("PING", "x"), ("UNSUBSCRIBE", channel), ("PING",)):
        connection.send_command(*command)
        told.append(error_or_answer(connection))
    return told


def error_or_answer(connection: Any) -> object:
    try:
        return connection.read_response(push_request=True)
    except redis.RedisError as error:
        return error


@cells.add("pub/sub: keyspace notifications")
def notifications(place: Place) -> object:
    r, key = client(place, decode_responses=True, db=int(place.variant[-1])), place.name("key")
    database = int(place.variant[-1])
    r.config_set("notify-keyspace-events", "KEA")
    subscription = r.pubsub()
    subscription.psubscribe(
        f"__key*@{database}__:*{key}*", f"__keyevent@{database}__:expired", f"__keyevent@{database}__:del"
    )
    for _ in range(3):
        subscription.get_message(timeout=BLOCKED_S)
    r.set(key, 1)
    r.expire(key, 100)
    r.delete(key)
    r.set(key, 1, px=20)
    told: list[object] = []
    deadline = time.monotonic() + BLOCKED_S
    while len(told) < 8 and time.monotonic() < deadline:
        if message := subscription.get_message(timeout=1):
            told.append((message["channel"].replace(f"@{database}", ""), message["data"]))
    return told


@cells.add("transactions: multi and exec")
def transactions(place: Place) -> object:
    r, key = text_client(place), place.name("key")
    with r.pipeline() as pipeline:
        told: list[object] = [pipeline.set(key, 1).incr(key).lpush(key, 1).get(key).execute(raise_on_error=False)]
    with r.pipeline() as pipeline:
        pipeline.execute_command("NOSUCH")
        pipeline.set(key, 9)
        told.append(error_of(pipeline.execute))
    return [*told, r.get(key)]


@cells.add("transactions: watch")
def watch(place: Place) -> object:
    r, key = text_client(place), place.name("key")
    with r.pipeline() as pipeline:
        pipeline.watch(key)
        text_client(place).set(key, "changed")
        pipeline.multi()
        pipeline.set(key, "mine")
        told: list[object] = [error_of(pipeline.execute), r.get(key)]

    def change(pipeline: Any) -> None:
        value = pipeline.get(key)
        pipeline.multi()
        pipeline.set(key, f"{value} and won")

    return [*told, r.transaction(change, key), r.get(key)]


@cells.add("transactions: a pipeline of 5,000 commands")
def pipelines(place: Place) -> object:
    r, key = text_client(place), place.name("key")
    with r.pipeline(transaction=False) as pipeline:
        for number in range(5000):
            pipeline.incrby(key, number)
        answers = pipeline.execute()
    return [len(answers), answers[-1]]


@cells.add("scripting: eval")
def scripting(place: Place) -> object:
    r, key = text_client(place), place.name("key")
    return [r.eval("return redis.call('incrby', KEYS[1], ARGV[1])", 1, key, 5), r.register_script("return {1,'a'}")()]


@cells.add("locks: acquire and release")
def locks(place: Place) -> object:
    r, key = text_client(place), place.name("lock")
    lock = r.lock(key, timeout=10)
    told: list[object] = [
        lock.acquire(),
        r.lock(key).acquire(blocking=False),
        lock.owned(),
        lock.extend(10),
        lock.release(),
    ]
    return [*told, r.exists(key), error_of(lock.release)]


@cells.add("locks: set with nx and px by hand")
def hand_lock(place: Place) -> object:
    r, key = text_client(place), place.name("lock")
    told: list[object] = [r.set(key, "me", nx=True, px=10_000), r.set(key, "you", nx=True, px=10_000)]
    with r.pipeline() as pipeline:
        pipeline.watch(key)
        mine = pipeline.get(key) == "me"
        pipeline.multi()
        pipeline.delete(key)
        told += [mine, pipeline.execute()]
    return told


@cells.add("bitmaps: bits")
def bitmaps(place: Place) -> object:
    r, key = client(place), place.name("bits")
    told: list[object] = [r.setbit(key, 7, 1), r.setbit(key, 7, 1), r.getbit(key, 7), r.bitcount(key), r.bitpos(key, 1)]
    return [
        *told,
        r.bitop("NOT", key + "n", key),
        r.get(key + "n"),
        r.bitfield(key).set("u8", 0, 200).get("u4", 0).execute(),
    ]


@cells.add("hyperloglog: count")
def hyperloglog(place: Place) -> object:
    r, key = client(place), place.name("hll")
    return [r.pfadd(key, *range(100)), r.pfadd(key, 5), r.pfcount(key), r.pfmerge(key + "m", key), r.pfcount(key + "m")]


@cells.add("geo: radius")
def geo(place: Place) -> object:
    r, key = text_client(place), place.name("geo")
    told: list[object] = [r.geoadd(key, (13.361389, 38.115556, "Palermo", 15.087269, 37.502669, "Catania"))]
    told += [r.geodist(key, "Palermo", "Catania", "km"), r.geohash(key, "Palermo")]
    return [*told, r.geosearch(key, longitude=15, latitude=37, radius=200, unit="km", sort="ASC")]


@cells.add("connection: handshake")
def handshake(place: Place) -> object:
    r = client(place, client_name="matrix", decode_responses=True)
    listed = [each for each in r.client_list() if each["name"] == "matrix"]
    told: list[object] = [r.ping(), r.echo("hi"), r.client_getname(), len(listed) >= 1, isinstance(r.client_id(), int)]
    info = r.client_info()
    return [*told, info["name"], info["resp"], r.execute_command("RESET")]


@cells.add("connection: errors")
def errors(place: Place) -> object:
    r, key = text_client(place), place.name("key")
    r.set(key, "text")
    commands = (
        ["NOSUCH", "a", "b"], ["GET"], ["LPUSH", key, 1], ["SET", key, 1, "BAD"], ["EXPIRE", key, "x"], ["SETRANGE", key, -1, "x"],
        ["HELLO", 9], ["CONFIG", "NOSUCH"], ["EXEC"], ["XADD", key, "*", "a"], ["ZADD", key, "x", "m"], ["CLIENT", "KILL", "1.1.1.1:1"],
    )  # fmt: skip
    return [error_of(functools.partial(r.execute_command, *command)) for command in commands]


@cells.add("connection: client kill and unblock")
def kill(place: Place) -> object:
    r, other = text_client(place), client(place, decode_responses=True, single_connection_client=True)
    number = other.client_id()
    answers: list[object] = []
    thread = threading.Thread(target=lambda: answers.append(other.blpop(place.name("none"), timeout=BLOCKED_S)))
    thread.start()
    deadline = time.monotonic() + BLOCKED_S
    while not r.client_unblock(number) and time.monotonic() < deadline:
        time.sleep(0.002)
    thread.join(BLOCKED_S)
    return [answers, r.client_kill_filter(_id=str(number)) in (0, 1), other.ping()]


@cells.add("server: info, config, command")
def server(place: Place) -> object:
    r = text_client(place)
    info = r.info()
    wanted = ("redis_mode", "role", "loading", "maxmemory_policy", "tcp_port")
    told: list[object] = [sorted(name for name in wanted if name in info), info["role"], info["loading"]]
    told += [r.config_get("databases"), r.config_get("appendfsync") != {}, error_of(lambda: r.config_set("nosuch", 1))]
    get = redis.Redis(place.host, place.port).execute_command("COMMAND", "INFO", "get")
    return [
        *told,
        bool(get),
        r.command_count() > 150,
        r.time()[0] > 1_000_000_000,
        r.lastsave() is not None,
        r.role()[0],
    ]


@cells.add("server: flush and size of a database")
def flush(place: Place) -> object:
    r = client(place, db=14 + (place.variant == "RESP3"))
    r.flushdb()
    r.mset({f"k{number}": number for number in range(10)})
    return [r.dbsize(), len(r.keys("*")), r.randomkey() is not None, r.flushdb(asynchronous=True), r.dbsize()]


@cells.add("server: memory usage, slow log, latency")
def introspection(place: Place) -> object:
    r, key = text_client(place), place.name("key")
    r.set(key, "x" * 100)
    return [
        r.memory_usage(key) > 100,
        isinstance(r.slowlog_get(), list),
        r.slowlog_reset(),
        r.memory_usage(key + "none"),
    ]


@cells.add("server: user and password")
def users(place: Place) -> object:
    address = place.option("users", "the target was started without users")
    host, _, port = address.rpartition(":")
    user, password = place.options["user"], place.options["password"]
    protocol = int(place.variant[-1])

    def told(**settings: Any) -> object:
        try:
            return redis.Redis(host, int(port), protocol=protocol, **settings).execute_command("ACL", "WHOAMI")
        except redis.RedisError as error:
            return error

    return [told(username=user, password=password), told(username=user, password="wrong"), told()]
