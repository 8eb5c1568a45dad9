"""What may be chosen about a disk engine. Limits, not features."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Options:
    journal_slots: int = 4
    """Files in the journal's ring, at least 2. Of a new directory: an old one keeps what it was made with."""
    journal_slot_bytes: int = 16 * 1024 * 1024
    reference_bytes: int = 64 * 1024
    """A batch of at least this is written to its segment only; the journal refers to it."""
    frame_bytes_max: int = 12 * 1024 * 1024
    """A turn whose frame would be larger goes by reference as a whole (never above three quarters of a slot)."""
    checkpoint_bytes: int = 512 * 1024 * 1024
    """Referred to since the last checkpoint: bounds what a recovery has to check."""
    checkpoint_manifests: int = 512
    """Streams rolled or changed since the last checkpoint: bounds what one has to write. An eighth as many manifests of
    streams that only have an active segment are written beside them, as many at the stop."""
    tail_cache_bytes: int = 8 * 1024 * 1024
    open_files_max: int = 2048
    free_bytes_min: int = 32 * 1024 * 1024
    """Kept free on the file system: below it writes are refused and reads go on."""
