"""Kafka's names to canonical addresses and back.

A topic name is ``[a-zA-Z0-9._-]``, 1 to 249 of them, neither ``.`` nor ``..`` (Topic.java, behaviour). ``.`` separates
tokens: ``orders.eu`` is ``orders/eu``, ``a..b`` has an empty token. The two are in one-to-one correspondence: a token
that holds any other byte, and a name longer than 249, cannot be said in Kafka; such topics are not listed and not found.
What begins with the token ``_thalweg`` is not a customer's: it is neither listed nor found by name.

Records pass unchanged: a batch is stored as its producer made it. What others publish to a captured address is a record
whose key is the canonical address and whose headers are the message's (``substrate.batch``).
"""

from __future__ import annotations

import re

from substrate.api import RESERVED, Address

NAME_BYTES_MAX = 249
_NAME = re.compile(r"[a-zA-Z0-9._-]{1,249}")
_ADDRESS = re.compile(rb"[a-zA-Z0-9_/-]{1,249}")


def address_of(name: str) -> Address | None:
    """The canonical address of a topic name; None: no topic can have this name."""
    if _NAME.fullmatch(name) is None or name in (".", ".."):
        return None
    return Address(name.replace(".", "/").encode())


def name_of(address: Address) -> str | None:
    """The topic name of a canonical address; None: Kafka has none for it."""
    if _ADDRESS.fullmatch(address) is None or address in (b"/", b"//"):
        return None
    return address.decode().replace("/", ".")


def is_reserved(address: Address) -> bool:
    """Whether it belongs to the substrate, the executors and the control plane."""
    return address == RESERVED or address.startswith(RESERVED + b"/")
