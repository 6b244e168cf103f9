"""Phase 2: every image of the catalog is the same, and sound, on every machine."""
