"""A gateway inside another program: on its loop, in a thread, in a process; and beside packages of the same names."""

from __future__ import annotations

import asyncio
import pathlib
import re
import subprocess
import sys
import threading

import nats
import paho.mqtt.client as paho
import pytest
import redis
from confluent_kafka import Consumer, Producer

import thalweg
from thalweg.config import MEMORY
from thalweg.embedding import Addresses, ChildError, ChildProcess

ROOT = pathlib.Path(__file__).resolve().parents[2]
DEADLINE_S = 30


def produced(bootstrap: str, topic: str, value: bytes) -> bytes:
    """The value as a consumer has it."""
    producer = Producer({"bootstrap.servers": bootstrap})
    producer.produce(topic, value)
    assert producer.flush(DEADLINE_S) == 0
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "g", "auto.offset.reset": "earliest"})
    try:
        consumer.subscribe([topic])
        message = consumer.poll(DEADLINE_S)
        assert message is not None
        assert message.error() is None
        value = message.value() or b""
        return value
    finally:
        consumer.close()


def ping_mqtt(address: tuple[str, int]) -> None:
    client = paho.Client(paho.CallbackAPIVersion.VERSION2)
    client.connect(*address)
    told = client.publish("a/b", b"x", qos=1)
    client.loop_start()
    told.wait_for_publish(DEADLINE_S)
    client.disconnect()
    client.loop_stop()


async def echoed(url: str) -> bytes:
    client = await nats.connect(url)
    subscription = await client.subscribe("x")
    await client.publish("x", b"hello")
    message = await subscription.next_msg(DEADLINE_S)
    await client.close()
    return bytes(message.data)


def use_all(gateway: thalweg.Gateway) -> None:
    """One client of each protocol, with the address as it wants it."""
    assert redis.Redis.from_url(gateway.redis).incr("n") == 1
    ping_mqtt(gateway.mqtt)
    assert produced(gateway.kafka, "orders", b"x") == b"x"


async def test_four_clients_use_a_gateway_on_their_own_loop() -> None:
    async with thalweg.Gateway() as gateway:
        assert await echoed(gateway.nats) == b"hello"
        await asyncio.to_thread(use_all, gateway)
        assert gateway.config.data == MEMORY
        with pytest.raises(LookupError, match="no http listener"):
            Addresses(gateway.listeners).http  # noqa: B018


def test_four_clients_use_a_gateway_in_a_thread() -> None:
    with thalweg.Gateway() as gateway:
        use_all(gateway)
        assert asyncio.run(echoed(gateway.nats)) == b"hello"
    with pytest.raises(redis.ConnectionError):
        redis.Redis.from_url(gateway.redis).ping()


def test_what_is_kept_in_a_directory_is_there_the_next_time(tmp_path: pathlib.Path) -> None:
    with thalweg.Gateway(data=tmp_path / "kept") as gateway:
        assert redis.Redis.from_url(gateway.redis).set("k", "v")
    with thalweg.Gateway(data=tmp_path / "kept") as gateway:
        assert redis.Redis.from_url(gateway.redis).get("k") == b"v"


def test_two_gateways_know_nothing_of_each_other() -> None:
    with thalweg.Gateway() as one, thalweg.Gateway() as two:
        redis.Redis.from_url(one.redis).set("k", "v")
        assert redis.Redis.from_url(two.redis).get("k") is None


def test_what_cannot_start_says_why_and_leaves_no_thread(tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="File exists"), thalweg.Gateway(data=tmp_path / "file"):
        pass
    with thalweg.Gateway() as one:
        port = one.mqtt.port
        config = thalweg.Config(data=MEMORY, mqtt=type(one.config.mqtt)(listen=f"127.0.0.1:{port}"))
        with pytest.raises(OSError, match="in use"), thalweg.Gateway(config):
            pass
    with pytest.raises(ValueError, match="not both"):
        thalweg.Gateway(config, data=tmp_path)
    assert "thalweg" not in {thread.name for thread in threading.enumerate()}


def test_a_process_holds_several_and_ends_with_its_pipe(tmp_path: pathlib.Path) -> None:
    with ChildProcess(tmp_path) as process:
        one, two = process.start(), process.start(tmp_path / "kept")
        redis.Redis.from_url(one.redis).set("k", "v")
        redis.Redis.from_url(two.redis).set("k", "w")
        one.stop()
        with pytest.raises(redis.ConnectionError):
            redis.Redis.from_url(one.redis).ping()
        assert redis.Redis.from_url(two.redis).get("k") == b"w"
        with pytest.raises(ChildError, match="File exists"):
            process.start(tmp_path / "thalweg.txt")
    with pytest.raises(redis.ConnectionError):
        redis.Redis.from_url(two.redis).ping()


def run(folder: pathlib.Path, code: str) -> subprocess.CompletedProcess[str]:
    """A program of somebody's, in a folder of its own with packages of its own."""
    for name in ("protocols", "substrate"):
        (folder / name).mkdir(exist_ok=True)
        (folder / name / "__init__.py").write_text("HERS = True\n")
    (folder / "program.py").write_text(code)
    return subprocess.run(
        [sys.executable, "program.py"], cwd=folder, capture_output=True, text=True, timeout=60,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
    )  # fmt: skip


def test_a_program_with_packages_of_our_names_is_told_so_in_one_line(tmp_path: pathlib.Path) -> None:
    done = run(tmp_path, "import protocols, thalweg\nassert protocols.HERS\nthalweg.Gateway()\n")
    assert done.returncode == 1
    said = done.stderr.splitlines()[-1]
    assert said.startswith("ImportError: thalweg cannot run inside this program: its package 'substrate' is found at")
    assert "in a process of its own" in said


def test_a_program_with_packages_of_our_names_may_use_a_process(tmp_path: pathlib.Path) -> None:
    code = (
        "import pathlib, protocols, substrate, socket\n"
        "from thalweg.embedding import ChildProcess\n"
        "with ChildProcess(pathlib.Path('.')) as process:\n"
        "    gateway = process.start()\n"
        "    with socket.create_connection(gateway.mqtt): pass\n"
        "    print(protocols.HERS, substrate.HERS)\n"
    )
    done = run(tmp_path, code)
    assert (done.stdout, done.returncode) == ("True True\n", 0), done.stderr


def test_the_import_alone_costs_next_to_nothing() -> None:
    code = "import sys, thalweg; print([n for n in sys.modules if n.split('.')[0] in ('protocols', 'substrate', 'asyncio', 'uvloop')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.stdout == "[]\n", done.stderr


EXAMPLES = re.findall(
    r"^(<!-- test -->\n)?```python\n(.*?)```", (ROOT / "docs/embedding.md").read_text(), re.DOTALL | re.MULTILINE
)


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_an_example_of_the_documentation_runs(number: int, tmp_path: pathlib.Path) -> None:
    is_test, code = EXAMPLES[number]
    (tmp_path / "test_example.py").write_text(code)
    command = ["-m", "pytest", "-q", "-p", "no:cacheprovider"] if is_test else ["test_example.py"]
    done = subprocess.run([sys.executable, *command], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    printed = ["b'10 tonnes of sand'", "b'hello'", "1", "1 passed"][number]
    assert printed in done.stdout
