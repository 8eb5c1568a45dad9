"""The substrate at a distance: the same interface over a Link (DESIGN section 6; docs/substrate-protocol.md)."""
