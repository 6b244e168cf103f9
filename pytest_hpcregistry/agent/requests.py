"""What the holder of the sync key may ask for, verb by verb: what our own sync asks for, within bounds.

Standard library only, Python >= 3.6. Sizes in bytes, times in seconds.
"""

from typing import Any

from .facts import Json, Refused
from .forms import Misshapen, flag, items, mapping, maybe, number, prose, record, text

LONGEST_SILENCE = 100000  # a little more than a day
MOST_IMAGES = 100  # in one request: their names are changed under the registry's lock, which nobody shall hold for long
MOST_OBJECTS = 100000  # that a catalog names
MOST_VERSIONS = 1000  # of one image, by which its name may go
MOST_USERS = 1000  # of objects, that are reported
LARGEST_OBJECT = 1 << 50
SMALLEST_PIECE, LARGEST_PIECE = 128 << 10, 1 << 20  # of a transfer; one is held in memory, and a digest for each
LARGEST_SIGNATURE = 8192  # characters; that of an RSA key of 16384 bits, the longest that OpenSSH takes, has 5,700
LARGEST_CATALOG = 32 << 20  # bytes; core/catalog.py writes and reads no larger one
LONGEST_REQUEST = 3 * LARGEST_CATALOG  # bytes: each quote in a catalog is two characters of JSON
LONGEST_GRACE = 10 * 366 * 86400

digest = text("[0-9a-f]{64}")
address = text(r"[0-9]{1,3}(\.[0-9]{1,3}){3}|[0-9a-fA-F]{0,4}:[0-9a-fA-F:.]{1,40}")
size = number(0, LARGEST_OBJECT)
image_name = text(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}/[A-Za-z0-9][A-Za-z0-9._+-]{0,127}\.sif")
network = maybe(text("[0-9a-fA-F.:]{2,45}(/[0-9]{1,3})?"))
link = text("[0-9a-f]{16}")
catalog = prose(LARGEST_CATALOG)
SIGNATURE = {
    "signed": text(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z"),
    "signature": prose(LARGEST_SIGNATURE),
}

FIRST = record({"nonce": text("[0-9A-Za-z]{1,64}"), "seconds": number(1, LONGEST_SILENCE)})
VERBS = {
    "have": record({}, {"probe": maybe(text(r"\.probe-[0-9a-f]{1,32}"))}),
    "prepare": record({"bases": mapping("[0-9a-f]{64}", digest, MOST_IMAGES)}, {"network": network}),
    "publish": record(
        {"images": items(record({"name": image_name, "digest": digest, "size": size}, SIGNATURE), MOST_IMAGES)},
        {"mode": text("0[0-7][0-7][0-7]"), "catalog": catalog, "objects": items(digest, MOST_OBJECTS)},
    ),
    "relay": record(
        {
            "objects": items(record({"digest": digest, "size": size}), MOST_IMAGES),
            "piece": number(SMALLEST_PIECE, LARGEST_PIECE),
            "index": digest,
            "certificate": prose(16384),
        },
        {"network": network},
    ),
    "repair": record({"objects": items(digest, MOST_IMAGES)}),
    "remove": record(
        {"names": items(record({"name": image_name, "digests": items(digest, MOST_VERSIONS)}), MOST_IMAGES)}
    ),
    "users": record({"objects": items(digest, MOST_OBJECTS)}),
    "expect": record({"link": link}),
    "send": record(
        {
            "node": text("[A-Za-z0-9][A-Za-z0-9._-]{0,253}"),
            "address": address,
            "port": number(1024, 65535),
            "link": link,
            "rate": number(0, LARGEST_OBJECT),
        }
    ),
    "gc": record(
        {
            "catalog": catalog,
            "objects": items(digest, MOST_OBJECTS),
            "keep": items(digest, MOST_OBJECTS),
            "names": items(image_name, MOST_OBJECTS),
            "spare": items(digest, MOST_OBJECTS),
            "grace": number(0, LONGEST_GRACE),
            "dry_run": flag,
            "shared": flag,
        }
    ),
}


def check(request: Any) -> Json:
    """Return *request* if it is one of a session's; Refused is raised if not."""
    verb = request.get("do") if isinstance(request, dict) else None
    if not isinstance(verb, str) or verb not in VERBS:
        raise Refused("a request that this agent does not understand: is it of another version?")
    try:
        VERBS[verb](request, "the request")
        number(0, LARGEST_OBJECT)(request.get("id"), "id")
    except Misshapen as error:
        raise Refused(f"a request to {verb} that this agent does not take: {error}") from None
    return dict(request)
