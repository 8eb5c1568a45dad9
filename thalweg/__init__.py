"""Kafka, NATS, MQTT and Redis clients, unchanged, on one append-only stream.

Embedders import this package only::

    async with thalweg.Gateway() as gateway:
        print(gateway.kafka, gateway.nats, gateway.mqtt, gateway.redis)
"""

from __future__ import annotations

import importlib.util
import os
import pathlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from thalweg.config import Config as Config
    from thalweg.gateway import Gateway as Gateway

__version__ = "0.1.0"
__all__ = ["Config", "Gateway", "__version__"]

HOME = pathlib.Path(__file__).resolve().parent.parent
PACKAGES = ("substrate", "protocols", "transports")
"""Ours beside this one, imported when a gateway is."""

if os.environ.get("THALWEG_PURE") == "1":
    from substrate.pure import install_if_asked

    install_if_asked()  # before any kernel is imported


def refuse_shadows() -> None:
    """
    Raises:
        ImportError: a package of the program has the name of one of ours, and would be imported in its place.
    """
    for name in PACKAGES:
        found = importlib.util.find_spec(name)
        places = [*(found.submodule_search_locations or [found.origin or "?"])] if found is not None else ["nowhere"]
        if not any(pathlib.Path(place).resolve().is_relative_to(HOME / name) for place in places):
            raise ImportError(
                f"thalweg cannot run inside this program: its package {name!r} is found at {places[0]} and not in {HOME}; "
                "thalweg serve, the pytest fixtures and thalweg.embedding.ChildProcess run it in a process of its own"
            )


def __getattr__(name: str) -> object:
    """``thalweg --version`` and ``thalweg config`` should not pay for the import of a gateway."""
    if name == "Gateway":
        refuse_shadows()
        from thalweg.gateway import Gateway

        return Gateway
    if name == "Config":
        from thalweg.config import Config

        return Config
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
