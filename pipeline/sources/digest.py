"""WARC-Block-Digest: what a writer says that a record's block hashes to, checked and noted, never judged."""

import base64
import binascii
import hashlib

#: The algorithms that WARC files name.
_ALGORITHMS = {"sha1": "sha1", "sha-1": "sha1", "sha256": "sha256", "sha-256": "sha256", "sha512": "sha512",
               "md5": "md5"}  # fmt: skip


def digest_note(declared: str | None, block: bytes) -> str | None:
    """None if the digest is right, absent or of a kind that we do not know; else what is wrong with it."""
    if not declared:
        return None
    label, _, value = declared.strip().partition(":")
    algorithm = _ALGORITHMS.get(label.strip().lower())
    if algorithm is None:
        return None
    found = hashlib.new(algorithm, block, usedforsecurity=False).digest()
    wanted = _decoded(value.strip(), size=len(found))
    if wanted is None or len(wanted) != len(found):
        return f"block digest cannot be read: {declared[:100]!r}"
    return None if found == wanted else f"block digest is wrong: {declared[:100]}, found {found.hex()}"


def _decoded(value: str, *, size: int) -> bytes | None:
    """A digest in base 16, base 32 (what most writers use, with or without padding) or base 64."""
    if len(value) == 2 * size and not value.strip("0123456789abcdefABCDEF"):
        return bytes.fromhex(value)
    padded = value.rstrip("=").upper() + "=" * (-len(value.rstrip("=")) % 8)
    for decode in (base64.b32decode, base64.b64decode):
        try:
            return decode(padded if decode is base64.b32decode else value)
        except (binascii.Error, ValueError):
            continue
    return None
