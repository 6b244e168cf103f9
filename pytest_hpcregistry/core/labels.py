"""Which of an image's labels the catalog takes."""

from __future__ import annotations

from collections.abc import Mapping

from .catalog import dumps
from .names import excerpt

MOST_LABELS = 4096
"""Bytes of a version's labels, as they are written, that a catalog takes."""
LONGEST_NAME, MOST_LEFT_OUT = 100, 20
"""Characters, and how many, of the names of labels that it does not take."""


def fit_labels(labels: Mapping[str, str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Those of an image's *labels* that a catalog takes, each as it is: the shortest, as many as MOST_LABELS allows.
    And the names of those that are left out; what is longer than a name is cut.
    """
    sizes = {name: len(dumps({name: value}).encode(errors="replace")) for name, value in labels.items()}
    kept: dict[str, str] = {}
    room = MOST_LABELS
    for name in sorted(labels, key=lambda name: (sizes[name], name)):
        room -= sizes[name]
        if room >= 0:
            kept[name] = labels[name]
    out = sorted(excerpt(name, LONGEST_NAME) for name in labels if name not in kept)
    return dict(sorted(kept.items())), tuple(out[:MOST_LEFT_OUT])
