"""What a cell is: a small program of one stock client, and what it observes of the server.

A cell is a function that is given a ``Place`` (an address, a variant of the client, names that nobody else uses) and
answers an *observation*: plain values that a user of that client would see. An exception is an observation too, with the
status ``failed``. The same cell on ours and on the real server must observe the same; nothing in an observation may depend
on the clock, on chance, or on another cell.

    cells = Cells("resp", "redis-py", "redis", variants=("RESP2", "RESP3"))

    @cells.add("strings: set and get")
    def set_and_get(place: Place) -> object:
        ...
"""

from __future__ import annotations

import itertools
import json
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any, TypeVar

PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"
MESSAGE_CHARS = 300
numbers = itertools.count()


class Skip(Exception):
    """Why a cell cannot be run here."""


class Place:
    """Where a cell runs. ``options``: what else the target has, such as ``websocket`` (host:port) or ``user`` and ``password``."""

    def __init__(self, address: str, variant: str = "", options: Mapping[str, str] | None = None) -> None:
        self.address = address
        self.variant = variant
        self.options = dict(options or {})
        self.names: dict[str, str] = {}
        host, _, port = address.rpartition(":")
        self.host, self.port = host, int(port)

    def name(self, label: str = "name") -> str:
        """A name that no other cell and no other run has; in the observation it is its label again."""
        made = f"{label}x{secrets.token_hex(5)}"
        self.names[made] = label
        return made

    def option(self, name: str, why: str) -> str:
        """Raises Skip with ``why`` where the target does not have it."""
        if not self.options.get(name):
            raise Skip(why)
        return self.options[name]

    def told(self, text: str) -> str:
        """The text with the names' labels for the names, and ``server`` for the address."""
        for made, label in sorted(self.names.items(), key=lambda pair: -len(pair[0])):
            text = text.replace(made, label)
        return text.replace(self.address, "server").replace(f"port {self.port}", "port of the server")


@dataclass(frozen=True)
class Result:
    """Of one cell: ``observed`` is JSON; of a failed one the exception, of a skipped one the reason."""

    feature: str
    status: str
    observed: Any
    seconds: float = 0.0

    def as_json(self) -> dict[str, Any]:
        return {
            "feature": self.feature,
            "status": self.status,
            "observed": self.observed,
            "seconds": round(self.seconds, 3),
        }


Program = Callable[[Place], Any]
Given = TypeVar("Given", bound=Program)


@dataclass
class Cells:
    """The cells of one client. ``packages``: distributions it is made of; ``together``: how many may run at once."""

    protocol: str
    client: str
    package: str
    variants: Sequence[str] = ("",)
    together: int = 4
    programs: dict[str, Program] = field(default_factory=dict)
    only: dict[str, Sequence[str]] = field(default_factory=dict)
    """Feature -> the variants that have it; every variant has the others."""

    def add(self, feature: str, variants: Sequence[str] = ()) -> Callable[[Given], Given]:
        def register(program: Given) -> Given:
            assert feature not in self.programs, f"{self.client} has {feature!r} twice"
            self.programs[feature] = program
            if variants:
                self.only[feature] = variants
            return program

        return register

    def features(self, variant: str) -> list[str]:
        return [name for name in self.programs if variant in self.only.get(name, (variant,))]

    def version(self) -> str:
        try:
            return metadata.version(self.package)
        except metadata.PackageNotFoundError:
            return ""


def plain(value: Any) -> Any:
    """The value as JSON has it: bytes as text, sets sorted, tuples as lists."""
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).decode("utf-8", "backslashreplace")
    if isinstance(value, set | frozenset):
        return sorted((plain(each) for each in value), key=str)
    if isinstance(value, Mapping):
        return {str(plain(key)): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, Exception):
        return said_by(value)
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def said_by(error: BaseException) -> str:
    """The exception's type and the first line of its words."""
    words = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {words}"[:MESSAGE_CHARS] if words else type(error).__name__


def observation(value: Any, place: Place) -> Any:
    return json.loads(place.told(json.dumps(plain(value))))


HEX = re.compile(r"0x[0-9a-f]{6,}|[0-9a-f]{32}|\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")


def words_of(error: BaseException, place: Place) -> str:
    """What a failed cell observed: without names, addresses and pointers, which differ from run to run."""
    return HEX.sub("(id)", place.told(said_by(error)))


def error_of(call: Callable[[], Any]) -> str:
    """What the call is refused with: an observation of its own.

    Raises:
        AssertionError: it was not refused.
    """
    try:
        value = call()
    except Exception as error:
        return said_by(error)
    raise AssertionError(f"not refused: {value!r}")
