"""What a user may do with a topic, and where topics are found: every API asks here.

Rights on addresses (``protocols.identity``) in Kafka's operations: READ reads records and a group's offsets of a topic;
WRITE produces; MANAGE creates, deletes, alters, trims. Whoever may do any of these may describe the topic. What a user may
not describe is not listed, and asked for by name is TOPIC_AUTHORIZATION_FAILED whether it is there or not. The cluster's
own operations (logs, the broker's configuration) need MANAGE on ``_thalweg``. Group names have no rights of their own: what a group
does is judged by the topics it is done to.

A topic also holds what was published beneath its address, so that Fetch wants READ for all that it captures: batches are given
as they are, or not at all. Where WRITE does not hold throughout, the address that a producer gives a record is judged.

What begins with ``_thalweg`` is not a customer's: a user whose rule names it may read it, nobody else finds it.
"""

from __future__ import annotations

from protocols.api import Right
from protocols.kafka.errors import Code
from protocols.kafka.exchange import Exchange
from protocols.kafka.mapping import address_of, is_reserved, name_of
from substrate.api import RESERVED, Address, Topic
from substrate.interest import Tokens

READ, WRITE, MANAGE = Right.READ, Right.WRITE, Right.MANAGE
CLUSTER = Address(RESERVED)
OPERATIONS = {READ: (3,), WRITE: (4,), MANAGE: (5, 6, 7, 11)}
"""AclOperation.java, behaviour: READ; WRITE; CREATE, DELETE, ALTER, ALTER_CONFIGS."""
BENEATH = b"%#"
"""None or more tokens, as in a topic's subjects."""
DESCRIBE = (1 << 8) | (1 << 10)
"""DESCRIBE and DESCRIBE_CONFIGS: of whoever may do anything."""


def may(exchange: Exchange, right: Right | None, address: Address) -> bool:
    """Whether this user has the right; None: any of them."""
    identity = exchange.session.identity
    if identity is None or identity.all:
        return identity is not None
    if right is None:
        return any(identity.may(one, address) for one in Right)
    return identity.may(right, address)


def may_manage_cluster(exchange: Exchange) -> bool:
    return may(exchange, MANAGE, CLUSTER)


def is_hidden(exchange: Exchange, address: Address, right: Right | None = None) -> bool:
    """Whether it is a reserved address that this user's rules do not let it read."""
    if not is_reserved(address):
        return False
    identity = exchange.session.identity
    return right not in (None, READ) or identity is None or identity.all or not identity.may(READ, address)


def topic_of(exchange: Exchange, address: Address) -> Topic | None:
    """Also one of the server's own streams, for who may see it. These have no id: clients ask for them by name."""
    return exchange.port.own_topic(address) if is_reserved(address) else exchange.port.topic(exchange.account, address)


def find(exchange: Exchange, name: str, right: Right | None) -> tuple[Topic | None, Code]:
    """The topic of this name if this user has this right on it (None: any), else why not."""
    address = address_of(name)
    if address is None:
        return None, Code.UNKNOWN_TOPIC_OR_PARTITION
    if not may(exchange, right, address):
        return None, Code.TOPIC_AUTHORIZATION_FAILED
    topic = None if is_hidden(exchange, address, right) else topic_of(exchange, address)
    return topic, Code.UNKNOWN_TOPIC_OR_PARTITION if topic is None else Code.NONE


def holds_throughout(exchange: Exchange, right: Right, topic: Topic) -> bool:
    """Whether the right holds for every address that the topic captures, so that no record need be looked at."""
    identity = exchange.session.identity
    if identity is None or identity.all or is_reserved(topic.name):
        return identity is not None
    captured = [Tokens(one) for one in topic.subjects or (topic.name + b"/" + BENEATH,)]
    return all(identity.may_all(right, one) and not identity.filtered(right, one) for one in captured)


def listed(exchange: Exchange) -> list[tuple[Topic, str]]:
    """Every topic that this user may describe and Kafka has a name for."""
    found = []
    for topic in exchange.port.topics(exchange.account):
        name = name_of(topic.name)
        if name is not None and not is_hidden(exchange, topic.name) and may(exchange, None, topic.name):
            found.append((topic, name))
    return found


def operations(exchange: Exchange, address: Address) -> int:
    """The bit field of what this user may do with a topic."""
    found = [one for right in Right if may(exchange, right, address) for one in OPERATIONS[right]]
    return sum((1 << one for one in found), DESCRIBE if found else 0)
