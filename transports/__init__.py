"""What moves bytes between processes and hosts. Everything else knows it by ``transports.api`` only.

A gateway that runs in one process needs none: gateway, sequencer and engine call one another.
"""
