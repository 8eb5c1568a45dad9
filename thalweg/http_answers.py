"""What a handler of the HTTP edge returns or raises."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any

from substrate.api import ErrorCode, Failed, Rejected, StreamError, Unknown

STATUS_OF = {
    ErrorCode.NO_STREAM: 404,
    ErrorCode.EXISTS: 409,
    ErrorCode.OUT_OF_RANGE: 416,
    ErrorCode.TOO_LARGE: 413,
    ErrorCode.INVALID: 400,
    ErrorCode.UNSUPPORTED: 400,
    ErrorCode.DENIED: 403,
    ErrorCode.NO_SPACE: 507,
    ErrorCode.BACKPRESSURE: 429,
    ErrorCode.TIMEOUT: 504,
    ErrorCode.CORRUPT: 500,
    ErrorCode.FENCED: 503,
    ErrorCode.UNAVAILABLE: 503,
    ErrorCode.SEALED: 409,
    ErrorCode.DUPLICATE_SEQUENCE: 409,
}


Ask = Callable[[int], None]
"""A call on the port that wants its answer under the token given."""
Steps = Generator[Ask, Any, Any]


class Refusal(Exception):
    """The request is refused: a status, and words for whoever asked."""

    def __init__(self, status: int, words: str, headers: list[tuple[str, str]] | None = None, **more: object) -> None:
        super().__init__(words)
        self.status = status
        self.headers = headers or []
        self.more = more

    def body(self) -> dict[str, object]:
        return {"error": str(self), "status": self.status, **self.more}


@dataclass(frozen=True, slots=True)
class Bytes:
    """A body that is not JSON."""

    data: bytes
    kind: str


@dataclass(frozen=True, slots=True)
class Reply:
    """A body with a status of its own, or one that waits for a commit."""

    body: object
    status: int = 200
    headers: list[tuple[str, str]] = field(default_factory=list)
    shard: int = 0
    commit: int = 0


def refused(answer: object) -> Refusal | None:
    """The substrate's no in HTTP's words; None: it is none."""
    if isinstance(answer, StreamError):
        return Refusal(STATUS_OF[answer.code], f"{answer.code.value}{': ' if answer.detail else ''}{answer.detail}")
    if isinstance(answer, Rejected):
        return Refusal(409, f"{answer.condition}: {answer.actual!r}")
    if isinstance(answer, Failed):
        return Refusal(503, answer.reason or "try again")
    if isinstance(answer, Unknown):
        return Refusal(503, f"it may have happened, or may yet: {answer.reason}")
    return None
