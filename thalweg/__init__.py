"""Kafka, NATS, MQTT and Redis clients, unchanged, on one append-only stream.

Embedders import this package only::

    async with thalweg.Gateway(thalweg.Config(data=":memory:")) as gateway:
        print(gateway.listeners)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from substrate.pure import install_if_asked

if TYPE_CHECKING:
    from thalweg.config import Config as Config
    from thalweg.gateway import Gateway as Gateway

__version__ = "0.1.0"
__all__ = ["Config", "Gateway", "__version__"]

install_if_asked()  # before any kernel is imported


def __getattr__(name: str) -> object:
    """``thalweg --version`` and ``thalweg config`` should not pay for the import of a gateway."""
    if name == "Gateway":
        from thalweg.gateway import Gateway

        return Gateway
    if name == "Config":
        from thalweg.config import Config

        return Config
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
