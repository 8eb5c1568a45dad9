"""Deliveries leave before they are durable: what a storage failure then makes of their acknowledgements."""

from __future__ import annotations

from conformance.harness import Harness
from substrate.api import DEFAULT_ACCOUNT, Address, CreateTopic
from substrate.memory import MemoryEngine


def test_the_acknowledgement_of_a_delivery_that_was_lost_is_not_confirmed():
    engine = MemoryEngine(delayed=True)
    harness = Harness(engine=engine)

    def settle() -> None:
        harness.run()
        engine.flush()
        harness.run()

    harness.sequencer.call("topics", CreateTopic(DEFAULT_ACCOUNT, Address(b"ev")), None, 0)
    settle()
    client = harness.connect("nats")
    client.send(b'CONNECT {"verbose":false,"headers":true}\r\nSUB _INBOX.> 1\r\n')
    config = b'{"stream_name":"ev","config":{"durable_name":"d","ack_policy":"explicit","ack_wait":1000000000}}'
    client.send(b"PUB $JS.API.CONSUMER.CREATE.ev.d _INBOX.c %d\r\n%s\r\nPUB ev.a 2\r\nhi\r\n" % (len(config), config))
    settle()
    client.read()

    def pull() -> bytes:
        """The acknowledgement subject of the one message."""
        request = b'{"batch":1,"expires":50000000000}'
        client.send(b"PUB $JS.API.CONSUMER.MSG.NEXT.ev.d _INBOX.n %d\r\n%s\r\n" % (len(request), request))
        told = client.read()
        assert told.endswith(b"hi\r\n"), told
        return told.split(b" ")[-2]

    lost = pull()  # delivered; that it was is not durable
    engine.fail("told to")
    harness.advance(3_000)
    assert not client.closed and not harness.sequencer.layer.broken
    client.read()
    client.send(b"PUB %s _INBOX.lost 4\r\n+ACK\r\n" % lost)
    settle()
    assert client.read() == b""
    again = pull()
    settle()
    client.send(b"PUB %s _INBOX.kept 4\r\n+ACK\r\n" % again)
    assert client.read() == b"", "confirmed when durable"
    settle()
    assert client.read() == b"MSG _INBOX.kept 1 0\r\n\r\n"
    client.send(b"PUB %s _INBOX.twice 4\r\n+ACK\r\n" % again)
    settle()
    assert client.read() == b"MSG _INBOX.twice 1 0\r\n\r\n", "what is acknowledged already may be confirmed again"
