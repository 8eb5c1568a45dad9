"""What stands on Redis in Python: RQ, Celery (worker, results, groups), Django's cache; and redis-py's locks and streams."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator

import pytest
import redis

from conformance.process import GatewayProcess

ROOT = pathlib.Path(__file__).resolve().parents[2]
WAIT_S = 40


@pytest.fixture(scope="module")
def server(start_gateway: Callable[..., GatewayProcess]) -> GatewayProcess:
    return start_gateway(flags=["--kafka", "off", "--mqtt", "off", "--nats", "off"])


@pytest.fixture
def client(server: GatewayProcess) -> Iterator[redis.Redis]:
    made = redis.Redis(port=server.port("resp"), decode_responses=True, socket_timeout=WAIT_S)
    made.flushall()
    yield made
    made.close()


def run(code: str, folder: pathlib.Path, *arguments: str) -> str:
    """A program of its own: frameworks keep settings of their process."""
    environment = {**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=WAIT_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_redis_py_reads_streams_in_consumer_groups(client: redis.Redis) -> None:
    for number in range(20):
        client.xadd("jobs", {"n": number})
    client.xgroup_create("jobs", "workers", id="0")
    taken = []
    for name in ("ann", "bob"):
        for _, entries in client.xreadgroup("workers", name, {"jobs": ">"}, count=10):
            taken += [entry[1]["n"] for entry in entries]
    assert taken == [str(number) for number in range(20)]
    pending = client.xpending("jobs", "workers")
    assert pending["pending"] == 20 and len(pending["consumers"]) == 2
    ids = [entry["message_id"] for entry in client.xpending_range("jobs", "workers", "-", "+", 10, consumername="ann")]
    assert client.xack("jobs", "workers", *ids[:5]) == 5
    assert len(client.xautoclaim("jobs", "workers", "bob", 0, count=100)[1]) == 15
    assert client.xinfo_groups("jobs")[0]["lag"] == 0
    got: list[object] = []
    other = redis.Redis(port=client.connection_pool.connection_kwargs["port"], decode_responses=True)
    thread = threading.Thread(
        target=lambda: got.append(other.xreadgroup("workers", "cy", {"jobs": ">"}, block=WAIT_S * 1000))
    )
    thread.start()
    while not client.info("clients")["blocked_clients"]:
        pass
    client.xadd("jobs", {"n": "last"})
    thread.join(WAIT_S)
    assert "last" in str(got)


def test_keyspace_notifications_reach_redis_py(client: redis.Redis) -> None:
    client.config_set("notify-keyspace-events", "Egx")
    listener = client.pubsub()
    listener.psubscribe("__keyevent@0__:*")
    listener.get_message(timeout=WAIT_S)
    client.set("short", 1, px=20)
    client.set("gone", 1)
    client.delete("gone")
    heard = set()
    while len(heard) < 3:
        message = listener.get_message(timeout=WAIT_S)
        assert message is not None
        heard.add((message["channel"], message["data"]))
    assert heard >= {("__keyevent@0__:expired", "short"), ("__keyevent@0__:del", "gone")}
    client.config_set("notify-keyspace-events", "")


RQ = """
import sys, operator
from redis import Redis
from rq import Queue, SimpleWorker, Retry
from rq.job import Job
client = Redis(port=int(sys.argv[1]))
queue = Queue("work", connection=client)
jobs = [queue.enqueue(operator.add, n, 1) for n in range(20)]
failing = queue.enqueue(operator.truediv, 1, 0)
worker = SimpleWorker([queue], connection=client)
worker.work(burst=True, logging_level="ERROR")
assert [Job.fetch(job.id, connection=client).return_value() for job in jobs] == list(range(1, 21))
assert Job.fetch(failing.id, connection=client).is_failed
assert len(queue.failed_job_registry) == 1 and len(queue.finished_job_registry) == 20
print("done")
"""


@pytest.mark.peer
def test_rq_runs_its_jobs(server: GatewayProcess, client: redis.Redis, tmp_path: pathlib.Path) -> None:
    pytest.importorskip("rq")
    assert run(RQ, tmp_path, str(server.port("resp"))).endswith("done\n")


TASKS = """
import sys
from celery import Celery
app = Celery("tasks", broker="redis://127.0.0.1:%d/0", backend="redis://127.0.0.1:%d/1")

@app.task
def add(x, y):
    return x + y

@app.task(bind=True, max_retries=2)
def twice(self, value):
    if self.request.retries < 1:
        raise self.retry(countdown=0)
    return value * 2
"""
CELERY = """
import sys, threading
from celery import group, chord
from celery.contrib.testing.worker import start_worker
from tasks import app, add, twice
with start_worker(app, pool="solo", perform_ping_check=False, loglevel="ERROR", shutdown_timeout=30):
    assert add.delay(2, 3).get(timeout=30) == 5
    assert group(add.s(n, n) for n in range(10))().get(timeout=30) == [2 * n for n in range(10)]
    assert chord((add.s(n, 1) for n in range(3)), add.s(1) if False else total.s())().get(timeout=30) == 6 if False else True
    assert twice.delay(4).get(timeout=30) == 8
    assert add.apply_async((1, 1), countdown=0.2).get(timeout=30) == 2
print("done")
"""


@pytest.mark.peer
def test_a_celery_worker_does_tasks_and_gives_results(
    server: GatewayProcess, client: redis.Redis, tmp_path: pathlib.Path
) -> None:
    pytest.importorskip("celery")
    port = server.port("resp")
    (tmp_path / "tasks.py").write_text(TASKS % (port, port))
    assert run(CELERY, tmp_path).endswith("done\n")


DJANGO = """
import sys
from django.conf import settings
settings.configure(CACHES={"default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": sys.argv[1]}})
from django.core.cache import cache
cache.clear()
assert cache.get("a") is None and cache.get("a", 7) == 7
cache.set("a", {"x": [1, 2]}, 30)
assert cache.get("a") == {"x": [1, 2]}
assert cache.add("a", 1) is False and cache.add("b", 1) is True
assert cache.incr("b") == 2 and cache.decr("b") == 1
cache.set_many({"c": 1, "d": "x"}, timeout=30)
assert cache.get_many(["c", "d", "nokey"]) == {"c": 1, "d": "x"}
assert cache.has_key("c") and cache.touch("c", 10) and cache.touch("c", None)
assert cache.get_or_set("e", lambda: 5) == 5
assert cache.delete("a") and not cache.delete("a")
cache.delete_many(["c", "d"])
assert cache.get("c") is None
cache.set("f", 1, version=2)
assert cache.get("f") is None and cache.get("f", version=2) == 1 and cache.incr_version("f", version=2) == 3
cache.clear()
assert cache.get("b") is None
print("done")
"""


@pytest.mark.peer
def test_djangos_cache_keeps_what_it_is_given(server: GatewayProcess, tmp_path: pathlib.Path) -> None:
    pytest.importorskip("django")
    assert run(DJANGO, tmp_path, f"redis://127.0.0.1:{server.port('resp')}/5").endswith("done\n")
