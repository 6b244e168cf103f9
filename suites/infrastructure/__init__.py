"""Phase 1: the registry is set up on the controller and on every node."""
