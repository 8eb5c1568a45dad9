"""Prints what a NATS subject says, as it comes: ``python -m examples.nats_read 'orders.>' [nats://host:port]``.

A stock nats-py client; nothing here knows which server it talks to.
"""

from __future__ import annotations

import asyncio
import sys

import nats


async def main(subject: str, server: str = "nats://localhost:4222") -> None:
    client = await nats.connect(server)
    subscription = await client.subscribe(subject)
    await client.flush()
    print(f"listening to {subject}", flush=True)
    async for message in subscription.messages:
        print(message.subject, message.data.decode(errors="replace"), flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
