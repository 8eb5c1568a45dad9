"""The README's list of commands, made of the table (a test holds the README to it)."""

from __future__ import annotations

from protocols.resp.catalogue import Catalogue

TITLES = (
    ("string", "Strings"), ("bitmap", "Bitmaps"), ("generic", "Keys and expiry"), ("hash", "Hashes"), ("list", "Lists"), ("set", "Sets"),
    ("sorted-set", "Sorted sets"), ("geo", "Positions"), ("hyperloglog", "HyperLogLog"), ("stream", "Streams"), ("transactions", "Transactions"), ("pubsub", "Publish and subscribe"), ("scripting", "Scripts"),
    ("connection", "Connection"), ("server", "Server"), ("cluster", "Cluster"),
)  # fmt: skip


def listing() -> str:
    """Markdown: each group with its commands and what they do."""
    found = Catalogue().commands.values()
    parts = []
    for group, title in TITLES:
        commands = sorted((command for command in found if command.group == group), key=lambda command: command.name)
        lines = [f"| `{command.name.upper().replace('|', ' ')}` | {command.summary} |" for command in commands]
        parts.append(f"### {title}\n\n| command | |\n|---|---|\n" + "\n".join(lines) + "\n")
    return "\n".join(parts)
