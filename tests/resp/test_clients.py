"""Stock clients against the real process: redis-py (RESP2, RESP3, asyncio), redis-cli, redis-benchmark, inline telnet."""

from __future__ import annotations

import asyncio
import pathlib
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
import redis.asyncio

from conformance.process import GatewayProcess, find_command

WAIT_S = 20.0
TOOLS_S = 60.0


@pytest.fixture(scope="module")
def server(start_gateway: Callable[..., GatewayProcess]) -> GatewayProcess:
    return start_gateway(flags=["--kafka", "off", "--mqtt", "off", "--nats", "off"])


@pytest.fixture(params=[2, 3], ids=["RESP2", "RESP3"])
def client(server: GatewayProcess, request: pytest.FixtureRequest) -> Iterator[redis.Redis]:
    made = redis.Redis(
        port=server.port("resp"),
        protocol=request.param,
        decode_responses=True,
        socket_timeout=WAIT_S,
        client_name="tests",
    )
    made.flushall()
    yield made
    made.close()


def until(check: Callable[[], Any]) -> Any:
    """What ``check`` gives once it gives something, within a deadline."""
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        found = check()
        if found:
            return found
    raise AssertionError("it did not come in time")


def test_redis_py_strings_keys_and_expiry(client: redis.Redis) -> None:
    assert client.set("a", "ä", ex=100, get=True) is None
    assert client.get("a") == "ä"
    assert 0 < client.ttl("a") <= 100
    assert client.set("a", 1, nx=True) is None
    assert client.incr("n", 5) == 5
    assert client.incrbyfloat("f", 0.1) == 0.1
    assert client.mget("a", "nokey") == ["ä", None]
    assert client.mset({"x": 1, "y": 2})
    assert sorted(client.scan_iter("[xy]")) == ["x", "y"]
    assert client.expire("x", 0) and not client.exists("x")
    assert client.type("y") == "string"
    assert client.getex("y", px=5000) == "2" and client.pttl("y") > 0
    assert client.copy("y", "z") and client.rename("z", "zz")
    assert client.delete("a", "n", "nokey") == 2
    assert client.client_getname() == "tests"
    assert isinstance(client.client_id(), int)
    assert client.info()["redis_version"] == "7.2.4"
    assert client.config_get("appendfsync") == {"appendfsync": "everysec"}
    assert len(client.command()) > 150


def test_redis_py_collections(client: redis.Redis) -> None:
    assert client.hset("h", mapping={"a": "1", "b": "2"}) == 2
    assert client.hgetall("h") == {"a": "1", "b": "2"}
    assert client.hincrbyfloat("h", "a", 0.5) == 1.5
    assert dict(client.hscan_iter("h")) == {"a": "1.5", "b": "2"}
    assert client.rpush("l", 1, 2, 3) == 3
    assert client.lrange("l", 0, -1) == ["1", "2", "3"]
    assert client.lpos("l", "2") == 1
    assert list(client.blpop(["l"], timeout=5)) == ["l", "1"]
    assert client.sadd("s", "x", "y") == 2
    assert client.smembers("s") == {"x", "y"}
    assert client.spop("s") in {"x", "y"}
    assert client.zadd("z", {"a": 1, "b": 2.5}) == 2
    assert [list(pair) for pair in client.zrange("z", 0, -1, withscores=True)] == [["a", 1.0], ["b", 2.5]]
    assert client.zscore("z", "b") == 2.5
    assert client.zrangebyscore("z", "(1", "+inf") == ["b"]
    assert client.zadd("z", {"a": 5}, gt=True, ch=True) == 1
    assert client.zrank("z", "a") == 1


def test_redis_py_pipelines_and_transactions(client: redis.Redis) -> None:
    pipe = client.pipeline(transaction=False)
    for number in range(500):
        pipe.set(f"k{number}", number).get(f"k{number}")
    assert pipe.execute() == [item for number in range(500) for item in (True, str(number))]
    assert client.pipeline().incr("n").incr("n").execute() == [1, 2]

    def move(pipe: Any) -> None:
        found = int(pipe.get("n"))
        pipe.multi()
        pipe.set("n", found + 40)

    assert client.transaction(move, "n") == [True]
    assert client.get("n") == "42"
    with client.pipeline() as pipe:
        pipe.watch("n")
        client.set("n", 0)
        pipe.multi()
        pipe.set("n", 99)
        with pytest.raises(redis.WatchError):
            pipe.execute()
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        client.lpush("n", 1)
    with pytest.raises(redis.ResponseError, match="unknown command"):
        client.execute_command("NONSENSE", "a")


def test_redis_py_publish_and_subscribe(client: redis.Redis) -> None:
    listener = client.pubsub()
    listener.subscribe("orders:eu")
    listener.psubscribe("orders:*")
    got = [until(lambda: listener.get_message(timeout=1)) for _ in range(2)]
    assert [message["type"] for message in got] == ["subscribe", "psubscribe"]
    assert client.publish("orders:eu", "hello") == 2
    got = [until(lambda: listener.get_message(timeout=1)) for _ in range(2)]
    assert sorted((message["type"], message["channel"], message["data"]) for message in got) == [
        ("message", "orders:eu", "hello"),
        ("pmessage", "orders:eu", "hello"),
    ]
    assert client.pubsub_channels() == ["orders:eu"]
    listener.close()


def test_redis_py_streams(client: redis.Redis) -> None:
    ids = [client.xadd("x", {"n": number}) for number in range(5)]
    assert client.xlen("x") == 5
    assert [entry[0] for entry in client.xrange("x")] == ids
    assert client.xrevrange("x", count=1) == [(ids[4], {"n": "4"})]
    read = client.xread({"x": ids[2]})
    entries = dict(read)["x"] if not isinstance(read, dict) else read["x"]
    entries = entries[0] if entries and isinstance(entries[0], list) else entries
    assert [entry[0] for entry in entries] == ids[3:]
    assert client.xtrim("x", maxlen=2, approximate=False) == 3
    assert client.xdel("x", ids[4]) == 1
    started = threading.Event()
    got: list[Any] = []

    def wait() -> None:
        started.set()
        got.append(client.xread({"x": "$"}, block=15_000))

    thread = threading.Thread(target=wait)
    thread.start()
    started.wait()
    until(lambda: client.info("clients")["blocked_clients"])
    client.xadd("x", {"n": "late"})
    thread.join(WAIT_S)
    assert "late" in str(got)


def test_redis_py_asyncio(server: GatewayProcess) -> None:
    async def scenario() -> None:
        async with redis.asyncio.Redis(port=server.port("resp"), decode_responses=True) as client:
            await client.flushall()
            assert await asyncio.gather(*[client.incr("n") for _ in range(100)]) != []
            assert await client.get("n") == "100"
            async with client.pipeline() as pipe:
                assert await pipe.set("a", 1).get("a").execute() == [True, "1"]
            async with client.pubsub() as listener:
                await listener.subscribe("c")
                while (await listener.get_message(timeout=1)) is None:
                    pass
                assert await client.publish("c", "m") == 1
                message = None
                while message is None:
                    message = await listener.get_message(ignore_subscribe_messages=True, timeout=1)
                assert message["data"] == "m"
            taken = asyncio.create_task(client.blpop(["q"], timeout=15))
            while not (await client.info("clients"))["blocked_clients"]:
                await asyncio.sleep(0)
            await client.rpush("q", "job")
            assert list(await taken) == ["q", "job"]

    asyncio.run(asyncio.wait_for(scenario(), WAIT_S))


def run_tool(name: str, server: GatewayProcess, *words: str, stdin: str | None = None) -> str:
    tool = find_command(name)
    if tool is None:
        pytest.skip(f"{name} is not installed")
    done = subprocess.run(
        [tool, "-p", str(server.port("resp")), *words], input=stdin, capture_output=True, text=True, timeout=TOOLS_S
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.peer
def test_redis_cli_asks_pipes_and_scans(server: GatewayProcess, tmp_path: pathlib.Path) -> None:
    assert run_tool("redis-cli", server, "FLUSHALL") == "OK\n"
    assert run_tool("redis-cli", server, stdin="SET a 'hello world'\nGET a\nHSET h f 1\nHGETALL h\nFOO x\n") == (
        "OK\nhello world\n1\nf\n1\nERR unknown command 'FOO', with args beginning with: 'x' \n\n"
    )
    assert "proto" in run_tool("redis-cli", server, "-3", "HELLO")
    data = "".join(f"*3\r\n$3\r\nSET\r\n$5\r\nk{n:04d}\r\n$1\r\nx\r\n" for n in range(2000))
    assert "errors: 0, replies: 2000" in run_tool("redis-cli", server, "--pipe", stdin=data)
    assert len(run_tool("redis-cli", server, "--scan", "--pattern", "k*").split()) == 2000
    assert "keys=2002" in run_tool("redis-cli", server, "INFO", "keyspace")


@pytest.mark.peer
def test_redis_benchmark_runs_all_its_tests(server: GatewayProcess) -> None:
    tests = "ping,set,get,incr,lpush,rpush,lpop,rpop,sadd,hset,spop,zadd,zpopmin,lrange_100,lrange_600,mset"
    text = run_tool("redis-benchmark", server, "-t", tests, "-n", "2000", "-c", "10", "-P", "8", "-q")
    assert text.replace("\r", "\n").count("requests per second") >= 17


def test_a_restart_finds_everything_again(start_gateway: Callable[..., GatewayProcess]) -> None:
    server = start_gateway(flags=["--kafka", "off", "--mqtt", "off", "--nats", "off"])
    client = redis.Redis(port=server.port("resp"), decode_responses=True)
    client.config_set("appendfsync", "always")
    for number in range(200):
        client.set(f"k{number}", number)
    client.rpush("l", 1, 2, 3)
    client.zadd("z", {"a": 1.5})
    client.xadd("x", {"f": "v"})
    client.set("soon", 1, px=50)
    client.xgroup_create("x", "g", id="0")
    client.xreadgroup("g", "me", {"x": ">"})
    client.pfadd("hll", *range(100))
    client.setbit("bits", 9, 1)
    client.geoadd("places", (13.361389, 38.115556, "Palermo"))
    client.config_set("notify-keyspace-events", "KEA")
    assert client.eval("return redis.call('incrby', KEYS[1], 5)", 1, "scripted") == 5
    client.close()
    server.restart(kill=True)
    client = redis.Redis(port=server.port("resp"), decode_responses=True)
    assert [client.get(f"k{number}") for number in range(200)] == [str(number) for number in range(200)]
    assert client.lrange("l", 0, -1) == ["1", "2", "3"]
    assert client.zscore("z", "a") == 1.5
    assert client.xlen("x") == 1
    assert client.xpending("x", "g")["consumers"] == [{"name": "me", "pending": 1}]
    assert client.pfcount("hll") == 100 and client.bitcount("bits") == 1 and client.get("scripted") == "5"
    assert client.geopos("places", "Palermo")[0] is not None
    assert client.config_get("notify-keyspace-events") == {"notify-keyspace-events": "AKE"}
    until(lambda: client.get("soon") is None)
    assert until(lambda: client.dbsize() == 207)
    server.restart()
    assert redis.Redis(port=server.port("resp"), decode_responses=True).dbsize() == 207
