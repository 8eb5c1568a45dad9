"""Celery: Redis is its broker and its result backend; the worker is a thread of this process."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from celery import Celery, chain, chord, group
from celery.contrib.testing.worker import start_worker

from conformance.matrix.cells import Cells, Place, error_of

cells = Cells("resp", "Celery", "celery", together=1)
RESULT_S_MAX = 20
logging.disable(logging.CRITICAL)


@contextmanager
def working(place: Place, database: int) -> Iterator[Any]:
    """An application with its tasks, and a worker of it."""
    url = f"redis://{place.address}/{database}"
    application = Celery(place.name("app"), broker=url, backend=url, set_as_current=False)
    application.conf.update(
        task_default_queue=place.name("queue"), broker_connection_retry_on_startup=True, worker_hijack_root_logger=False,
        task_always_eager=False, broker_transport_options={"visibility_timeout": 3600}, result_expires=60,
    )  # fmt: skip

    def add(left: int, right: int) -> int:
        return left + right

    def total(numbers: list[int]) -> int:
        return sum(numbers)

    def fail(self: Any) -> None:
        try:
            raise ValueError("no")
        except ValueError as error:
            raise self.retry(exc=error, countdown=0) from error

    application.task(name="add")(add)
    application.task(name="total")(total)
    application.task(name="fail", bind=True, max_retries=1, default_retry_delay=0)(fail)
    with start_worker(
        application, perform_ping_check=False, pool="solo", loglevel="CRITICAL", shutdown_timeout=RESULT_S_MAX
    ):
        yield application


@cells.add("tasks: a task and its result")
def task(place: Place) -> object:
    with working(place, 12) as application:
        answer = application.tasks["add"].delay(2, 3)
        return [answer.get(timeout=RESULT_S_MAX), answer.state, answer.successful()]


@cells.add("tasks: groups, chains and chords")
def canvas(place: Place) -> object:
    with working(place, 12) as application:
        add, total = application.tasks["add"], application.tasks["total"]
        told = [group(add.s(number, 1) for number in range(5)).apply_async().get(timeout=RESULT_S_MAX)]
        told.append(chain(add.s(1, 2), add.s(10)).apply_async().get(timeout=RESULT_S_MAX))
        return [*told, chord([add.s(number, 0) for number in range(4)])(total.s()).get(timeout=RESULT_S_MAX)]


@cells.add("tasks: retries and failures")
def failing(place: Place) -> object:
    with working(place, 12) as application:
        answer = application.tasks["fail"].delay()
        return [error_of(lambda: answer.get(timeout=RESULT_S_MAX)), answer.state]


@cells.add("tasks: countdown and revoke")
def countdown(place: Place) -> object:
    with working(place, 12) as application:
        soon = application.tasks["add"].apply_async((1, 1), countdown=0.2)
        return [soon.get(timeout=RESULT_S_MAX), soon.state]


@cells.add("control: broadcast to workers")
def control(place: Place) -> object:
    with working(place, 12) as application:
        answers = application.control.ping(timeout=1)
        return [[list(each.values()) for each in answers], application.control.purge()]
