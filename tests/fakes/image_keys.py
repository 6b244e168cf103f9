"""Keys of PGP and in PEM, as gpg 2.4 and openssl 3 have written them, and a SIF that says it is signed.

Erin's secret key is in no other place: what she signs is for tests only.
"""

from __future__ import annotations

from pytest_hpcregistry.testing.sif import Part, Sif, system_partition

PGP_START = b"-----BEGIN PGP SIGNED MESSAGE-----\n"
DSSE_START = b'{"payloadType":"application/vnd.sylabs.sif-metadata+json","payload":'

ERIN = """\
-----BEGIN PGP PUBLIC KEY BLOCK-----

mDMEawjYZRYJKwYBBAHaRw8BAQdAGtxpGGF11EhC4uH4BBLIUs638W84RRqh1AHj
U0WXjBe0EGVyaW4gPGVyaW5Ac2l0ZT6IkAQTFggAOBYhBIDluCLqyTJGEZWhS2kX
iQ50mwC3BQJrCNhlAhsDBQsJCAcCBhUKCQgLAgQWAgMBAh4BAheAAAoJEGkXiQ50
mwC3su0A/12hCm34L1Uq0ZZ/Ube4MsmGFKx30v3iC3G7z3iQRLXOAQCF7bvUzkYT
CQO4xYQomM6nLrXBC3R1Njy1fepEbvJWCA==
=umsA
-----END PGP PUBLIC KEY BLOCK-----
"""
ERINS_FINGERPRINT = "80E5B822EAC932461195A14B6917890E749B00B7"
# The same key, after gpg --quick-set-expire: one second after it was made.
ERIN_EXPIRED = """\
-----BEGIN PGP PUBLIC KEY BLOCK-----

mDMEawjYZRYJKwYBBAHaRw8BAQdAGtxpGGF11EhC4uH4BBLIUs638W84RRqh1AHj
U0WXjBe0EGVyaW4gPGVyaW5Ac2l0ZT6IlgQTFggAPgIbAwULCQgHAgYVCgkICwIE
FgIDAQIeAQIXgBYhBIDluCLqyTJGEZWhS2kXiQ50mwC3BQJrCNhmBQkAAAABAAoJ
EGkXiQ50mwC3g9oBAOGUD2ip6cDo1TIZjwkc9yAnEngtgDMal2MJyjUiC8+4AQD4
WDO9ARbz+Pjic/NLK5/J0ox2t7HLnHvAY0TzqxUMAg==
=o6wC
-----END PGP PUBLIC KEY BLOCK-----
"""
ERINS_SECRET = """\
-----BEGIN PGP PRIVATE KEY BLOCK-----

lFgEawjYZRYJKwYBBAHaRw8BAQdAGtxpGGF11EhC4uH4BBLIUs638W84RRqh1AHj
U0WXjBcAAQDhWEFbu7GWD35clTL3RgOZYVRQg4EjaCtc9CimywpitA4ptBBlcmlu
IDxlcmluQHNpdGU+iJAEExYIADgWIQSA5bgi6skyRhGVoUtpF4kOdJsAtwUCawjY
ZQIbAwULCQgHAgYVCgkICwIEFgIDAQIeAQIXgAAKCRBpF4kOdJsAt7LtAP9doQpt
+C9VKtGWf1G3uDLJhhSsd9L94gtxu894kES1zgEAhe271M5GEwkDuMWEKJjOpy61
wQt0dTY8tX3qRG7yVgg=
=EWHb
-----END PGP PRIVATE KEY BLOCK-----
"""  # noqa: S105
# And another one in the same file.
SEVERAL = """\
-----BEGIN PGP PUBLIC KEY BLOCK-----

mDMEawjYZRYJKwYBBAHaRw8BAQdAGtxpGGF11EhC4uH4BBLIUs638W84RRqh1AHj
U0WXjBe0EGVyaW4gPGVyaW5Ac2l0ZT6IlgQTFggAPgIbAwULCQgHAgYVCgkICwIE
FgIDAQIeAQIXgBYhBIDluCLqyTJGEZWhS2kXiQ50mwC3BQJrCNhmBQkAAAABAAoJ
EGkXiQ50mwC3g9oBAOGUD2ip6cDo1TIZjwkc9yAnEngtgDMal2MJyjUiC8+4AQD4
WDO9ARbz+Pjic/NLK5/J0ox2t7HLnHvAY0TzqxUMApgzBGsI2GYWCSsGAQQB2kcP
AQEHQE7UoIZe5HFyrCuQrpxxviNmrVmvS0Z2JyDSlJGHGleRtBJmcmFuayA8ZnJh
bmtAc2l0ZT6IkAQTFggAOBYhBCsS9HCKM9HJ3ukkqsXgTn2vwL7SBQJrCNhmAhsD
BQsJCAcCBhUKCQgLAgQWAgMBAh4BAheAAAoJEMXgTn2vwL7SrsgBAIeqsZVocyAB
7hMgVYY+/2MSV3KVmuVuJHZuu7kjQNY/AP9hLC5vKF/AbyJZmzYE9Tu5A54nd0wl
ouWAzy6QB0B6DQ==
=0zrF
-----END PGP PUBLIC KEY BLOCK-----
"""
ED25519 = """\
-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAGuIdjYYxkS4l4601ZbOqlkiPW2qS2MpWdllRSYzZmgQ=
-----END PUBLIC KEY-----
"""
P256 = """\
-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEMsNuXjxl4K4g04KqPvMA+REdH0Zq
4pGYuoC263Y3+YVVKyxcRDfi+OLfGn/e7UkR9oJqws/NYvuA9JrQwRFtcQ==
-----END PUBLIC KEY-----
"""
PRIVATE = """\
-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIIAzvk1aehx3Fpsjzd44bCemSCvnfwZfrN0Y3D4wKEhc
-----END PRIVATE KEY-----
"""


def signed_sif(*signatures: bytes, fingerprint: str = ERINS_FINGERPRINT) -> bytes:
    """A SIF of one partition, and an object for each of *signatures*."""
    extra = (1).to_bytes(4, "little") + bytes.fromhex(fingerprint)
    return Sif((system_partition(), *(Part(0x4005, one, extra=extra) for one in signatures))).to_bytes()
