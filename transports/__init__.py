"""What moves bytes between processes and hosts.

Empty as long as everything runs in one process: gateway, sequencer and engine call one another.
``transports.api`` (``Link``: reliable, framed, with byte credit; ``Fanout``: numbered, lossy, one to many) comes with the
first transport; the contracts in ``pyproject.toml`` and ``tests/tidy`` already keep everything else away from it.
"""
