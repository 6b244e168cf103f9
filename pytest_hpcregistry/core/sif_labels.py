"""The labels in a SIF: decoration. Whatever is wrong with them is a warning, and never a reason to refuse the image.

Apptainer keeps them in a JSON object of its own metadata, `data.attributes.labels` of inspect-metadata.json; older
programs in an object of type labels, which is just a mapping.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from .sif_format import Descriptor

MOST = 16 << 20
"""Bytes of an object with labels that are read: it also holds the whole %help."""
METADATA = "inspect-metadata.json"


def read_labels(
    read: Callable[[int, int], bytes], descriptors: Sequence[Descriptor], size: int
) -> tuple[dict[str, str], str | None]:
    """The labels, and what could not be read of them. *read* gives bytes of the file, which has *size* of them."""
    for one in descriptors:
        if one.type == "labels" or (one.type == "JSON" and one.name == METADATA):
            if not 0 <= one.offset <= one.offset + one.size <= size:
                return {}, "its labels do not lie within the file"
            if one.size > MOST:
                return {}, f"its labels are not read: {one.size} bytes, more than {MOST}"
            return parse_labels(read(one.offset, one.size), one.type == "JSON")
    return {}, None


def parse_labels(data: bytes, metadata: bool) -> tuple[dict[str, str], str | None]:
    """Labels from the bytes of their object, and what is wrong with them."""
    try:
        parsed = json.loads(decode(data) or "{}")
        found = labels_of(parsed, metadata)
        return {fit(key): fit(value) for key, value in found.items()}, None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}, "its labels cannot be read: they are not a JSON object of labels"


def decode(data: bytes) -> str:
    """Text in UTF-8 or UTF-16 as JSON may be, or in Latin-1, which people's editors write."""
    try:
        text = data.decode(json.detect_encoding(data))
    except ValueError:
        text = data.decode("latin-1")
    return text.strip("\0")


def labels_of(parsed: Any, metadata: bool) -> dict[str, Any]:
    """The mapping of labels in what JSON holds; there need be none. Raises as whatever is not as it should be."""
    nested = parsed.get("data")
    if metadata or (isinstance(nested, dict) and "attributes" in nested):
        return ((nested or {}).get("attributes") or {}).get("labels") or {}
    return dict(parsed)


def fit(text: Any) -> str:
    """Text that can be encoded: JSON may hold half of a surrogate pair."""
    return str(text).encode("utf-8", "replace").decode("utf-8")
