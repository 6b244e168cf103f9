"""How far a transfer is: many threads tell, one event a second says it."""

from __future__ import annotations

import threading

from ..core.events import Listener, Progress

INTERVAL = 1.0  # seconds between two events


class Meter:
    """While it is open, `progress` events with the bytes that have arrived on the nodes where that has changed."""

    def __init__(self, listener: Listener) -> None:
        self.listener = listener
        self.latest: dict[str, int] = {}
        self.told: dict[str, int] = {}
        self.closing = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)

    def __enter__(self) -> Meter:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self.thread.join()

    def moved(self, node: str, size: int) -> None:
        """So many bytes, in all, have arrived on a node."""
        self.latest[node] = size

    def run(self) -> None:
        while not self.closing.wait(INTERVAL):
            latest = dict(self.latest)
            changed = {node: size for node, size in latest.items() if self.told.get(node) != size}
            if changed:
                self.listener(Progress(bytes=changed))
            self.told = latest
