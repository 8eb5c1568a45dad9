"""The engine ``jetstream``: the truth in a stream of a NATS JetStream cluster, a copy of it on this machine's disk."""

from substrate.jetstream.address import Cluster
from substrate.jetstream.engine import Host, JetStreamEngine

__all__ = ["Cluster", "Host", "JetStreamEngine"]
