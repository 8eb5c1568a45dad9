"""RQ: jobs and a worker, in burst mode, in this process."""

from __future__ import annotations

import logging

import redis
from rq import Queue, Retry, SimpleWorker
from rq.registry import FailedJobRegistry, FinishedJobRegistry, ScheduledJobRegistry

from conformance.matrix.cells import Cells, Place

cells = Cells("resp", "RQ", "rq", together=1)
logging.disable(logging.CRITICAL)


def add(left: int, right: int) -> int:
    return left + right


def divide(left: int, right: int) -> float:
    return left / right


class Worker(SimpleWorker):  # type: ignore[misc]
    def _install_signal_handlers(self) -> None:
        """Cells run in threads, where there are no signals."""


def work(place: Place, queue: Queue, connection: redis.Redis) -> bool:
    from rq.timeouts import TimerDeathPenalty

    class Threaded(Worker):
        death_penalty_class = TimerDeathPenalty

    return bool(
        Threaded([queue], connection=connection, name=place.name("worker")).work(burst=True, logging_level="CRITICAL")
    )


@cells.add("queue: a job and its result")
def job(place: Place) -> object:
    with redis.Redis(place.host, place.port) as connection:
        queue = Queue(place.name("queue"), connection=connection)
        jobs = [queue.enqueue(add, number, 1) for number in range(3)]
        told = [len(queue), jobs[0].get_status(), work(place, queue, connection)]
        return [
            *told,
            [each.return_value() for each in jobs],
            jobs[0].get_status(),
            len(FinishedJobRegistry(queue=queue)),
        ]


@cells.add("queue: a job that fails")
def failing(place: Place) -> object:
    with redis.Redis(place.host, place.port) as connection:
        queue = Queue(place.name("queue"), connection=connection)
        job = queue.enqueue(divide, 1, 0)
        work(place, queue, connection)
        result = job.latest_result()
        return [
            job.get_status(refresh=True),
            len(FailedJobRegistry(queue=queue)),
            result is not None and "ZeroDivisionError" in str(result.exc_string),
        ]


@cells.add("queue: retries")
def retries(place: Place) -> object:
    with redis.Redis(place.host, place.port) as connection:
        queue = Queue(place.name("queue"), connection=connection)
        job = queue.enqueue(divide, 1, 0, retry=Retry(max=2))
        work(place, queue, connection)
        return [job.get_status(refresh=True), len(job.results())]


@cells.add("queue: jobs that depend on others")
def dependent(place: Place) -> object:
    with redis.Redis(place.host, place.port) as connection:
        queue = Queue(place.name("queue"), connection=connection)
        first = queue.enqueue(add, 1, 2)
        second = queue.enqueue(add, 3, 4, depends_on=first)
        told = [second.get_status(), work(place, queue, connection)]
        return [*told, second.return_value(), second.get_status(refresh=True)]


@cells.add("queue: scheduled jobs, cancelled and removed")
def scheduled(place: Place) -> object:
    from datetime import timedelta

    with redis.Redis(place.host, place.port) as connection:
        queue = Queue(place.name("queue"), connection=connection)
        later = queue.enqueue_in(timedelta(hours=1), add, 1, 2)
        gone = queue.enqueue(add, 1, 2)
        gone.cancel()
        told = [len(ScheduledJobRegistry(queue=queue)), gone.get_status(), len(queue)]
        later.delete()
        return [*told, len(ScheduledJobRegistry(queue=queue)), queue.empty(), queue.delete()]
