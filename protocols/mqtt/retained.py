"""Retained messages of one account: a tree over tokens, so that a filter costs what it matches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from substrate.interest import ANY, ONE, Tokens

if TYPE_CHECKING:
    from protocols.mqtt.state import Message


NODE_BYTES = 300
"""What each level of a topic costs besides the message's own bytes, roughly, if it shares none with others."""


class _Node:
    __slots__ = ("children", "message")

    def __init__(self) -> None:
        self.children: dict[bytes, _Node] = {}
        self.message: Message | None = None


class Retained:
    """The last retained message of each address. Iterative: deep topics cost no stack."""

    def __init__(self) -> None:
        self._root = _Node()
        self.count = 0
        self.bytes = 0

    def set(self, address: bytes, message: Message | None) -> None:
        """Keep this message as the address's; None: keep none."""
        parts = address.split(b"/")
        node = self._root
        path = []
        for part in parts:
            below = node.children.get(part)
            if below is None:
                if message is None:
                    return
                below = node.children[part] = _Node()
            path.append((node, part))
            node = below
        self.count += (message is not None) - (node.message is not None)
        overhead = NODE_BYTES * len(parts)
        self.bytes += (message.size + overhead if message else 0) - (
            node.message.size + overhead if node.message else 0
        )
        node.message = message
        while path and node.message is None and not node.children:
            node, part = path.pop()
            del node.children[part]

    def get(self, address: bytes) -> Message | None:
        node: _Node | None = self._root
        for part in address.split(b"/"):
            node = node.children.get(part) if node is not None else None
        return node.message if node is not None else None

    def match(self, pattern: Tokens) -> list[Message]:
        """The messages whose address the pattern matches, in the order of their addresses' first arrival, by level."""
        frontier = [self._root]
        found: list[Message] = []
        for index, part in enumerate(pattern.parts):
            if part == ANY:
                for node in frontier:  # `a/#` matches `a` itself too
                    found += self._beneath(node, pattern if index == 0 else None)
                return found
            below: list[_Node] = []
            for node in frontier:
                if part == ONE:
                    below += [
                        child for token, child in node.children.items() if not (index == 0 and pattern.hides(token))
                    ]
                elif part in node.children:
                    below.append(node.children[part])
            frontier = below
        return [node.message for node in frontier if node.message is not None]

    def _beneath(self, node: _Node, root_of: Tokens | None) -> Iterator[Message]:
        """All at and under a node; ``root_of``: the pattern whose first token this wildcard is."""
        if root_of is None:
            todo = [node]
        else:
            todo = [child for token, child in reversed(node.children.items()) if not root_of.hides(token)]
        while todo:
            one = todo.pop()
            if one.message is not None:
                yield one.message
            todo += reversed(one.children.values())

    def all(self) -> list[tuple[bytes, Message]]:
        """Every address and its message, sorted by address."""
        found: list[tuple[bytes, Message]] = []
        todo: list[tuple[bytes, _Node]] = list(self._root.children.items())
        while todo:
            address, node = todo.pop()
            if node.message is not None:
                found.append((address, node.message))
            todo += [(address + b"/" + token, child) for token, child in node.children.items()]
        return sorted(found, key=lambda pair: pair[0])
