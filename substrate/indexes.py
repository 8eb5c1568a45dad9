"""The address indexes of a shard's streams: opened when first asked for, kept up, made anew where their files do not fit."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from substrate import batch as batches
from substrate.api import Address
from substrate.batch import BatchError
from substrate.engine import Batch
from substrate.index import AddressIndex
from substrate.runs import SUFFIX, BlockCache, Unsound

if TYPE_CHECKING:
    from substrate.layer import StreamLayer
    from substrate.streams import Stream

BLOCKS_BYTES_MAX = 8 * 1024 * 1024
"""Of all streams' address indexes, kept in memory."""
INDEX_STEP = 1024
"""Records read before an index that is made from the log is worked on."""
T = TypeVar("T")


class Indexes:
    """Of one shard. New in each epoch."""

    def __init__(self, layer: StreamLayer) -> None:
        self._layer = layer
        self._blocks = BlockCache(BLOCKS_BYTES_MAX)

    def ask(self, found: Stream, question: Callable[[AddressIndex], T]) -> T:
        """Ask the address index; one whose files do not fit is made anew from the log.

        Raises:
            EngineError: CORRUPT: the log.
        """
        try:
            return question(self.of(found))
        except (Unsound, OSError):
            self.drop(found)
            return question(self.of(found))

    def of(self, found: Stream) -> AddressIndex:
        """The address index: opened, and brought up to the ordered tail, when first asked for."""
        if found.index is None:
            engine = self._layer.engine_of(found.config)
            made = AddressIndex(found.id, engine.asides(found.id), self._blocks, found.start)
            epochs = [(int(epoch), int(base)) for epoch, base in engine.ends(found.id).epochs]
            first = made.load(found.start, found.durable, epochs)
            for count, record in enumerate(self._layer.each(found, first), 1):
                made.add(Address(record.address), record.position, 1)
                if count % INDEX_STEP == 0 and made.pending:
                    self.work(found, made, INDEX_STEP)
            found.index = made
        return found.index

    def drop(self, found: Stream) -> None:
        """It is not true any more, nor are its files."""
        found.index = None
        asides = self._layer.engine_of(found.config).asides(found.id)
        for name in asides.names() if asides is not None else ():
            if asides is not None and name.endswith(SUFFIX):
                asides.remove(name)

    def work(self, found: Stream, index: AddressIndex, added: int) -> None:
        epochs = [(int(epoch), int(base)) for epoch, base in self._layer.engine_of(found.config).ends(found.id).epochs]
        try:
            index.work(added, found.start, found.durable, epochs, found.gone)
        except Unsound:
            found.index = None
        except OSError:
            index.stay()

    def add_batch(self, found: Stream, batch: Batch) -> None:
        assert found.index is not None
        try:
            for record in batches.decode(batch, found.key.name):
                found.index.add(Address(record.address), record.position, 1)
        except BatchError:
            pass  # opaque to us: its records are not addressable, Kafka clients see them as they are
