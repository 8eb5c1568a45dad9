"""Who waits for a key is served before the next command of the pipeline that filled it (redis-server 7.0.15, measured)."""

from __future__ import annotations

from conformance.harness import Harness


def test_a_waiting_client_is_served_between_two_commands_of_a_pipeline() -> None:
    harness = Harness()
    waiting, pushing = harness.connect("resp"), harness.connect("resp")
    waiting.send(b"*3\r\n$5\r\nBLPOP\r\n$5\r\nqueue\r\n$1\r\n0\r\n")
    pushing.send(b"*3\r\n$5\r\nRPUSH\r\n$5\r\nqueue\r\n$1\r\nx\r\n*2\r\n$4\r\nLLEN\r\n$5\r\nqueue\r\n")
    assert waiting.read() == b"*2\r\n$5\r\nqueue\r\n$1\r\nx\r\n"
    assert pushing.read() == b":1\r\n:0\r\n"
