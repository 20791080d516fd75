"""Which owners, benchmark items or held-out texts, have an n-gram: looked up for many documents at once."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Postings:
    """n-grams that tell one owner from others."""

    #: uint64, ascending; a hash stands once for each owner that has it.
    hashes: np.ndarray
    #: int64 beside `hashes`: the owner's number.
    owners: np.ndarray
    #: int64 by owner: its n-grams that count.
    totals: np.ndarray

    def shared(self, hashes: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(row, owner, n-grams shared), int64 each, of every pair that shares one; `rows` says whose each of `hashes`
        is, in which a row has none twice. Rows ascending, in each the owners."""
        first = np.searchsorted(self.hashes, hashes, side="left")
        counts = np.searchsorted(self.hashes, hashes, side="right") - first
        # The places first, first + 1, … of each hash, one behind the other.
        behind = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        owners = self.owners[np.repeat(first, counts) + behind]
        pairs, shared = np.unique(np.repeat(rows, counts) * len(self.totals) + owners, return_counts=True)
        row, owner = np.divmod(pairs, max(1, len(self.totals)))
        return row, owner, shared


def build_postings(hashes: np.ndarray, counts: np.ndarray, *, most_owners: int) -> Postings:
    """`hashes` of the owners one behind the other, `counts[k]` distinct ones of owner k. Those of more than
    `most_owners` are a phrase of all of them and left out."""
    owners = np.repeat(np.arange(len(counts)), counts)
    order = np.argsort(hashes, kind="stable")
    hashes, owners = hashes[order], owners[order]
    _, inverse, times = np.unique(hashes, return_inverse=True, return_counts=True)
    own = times[inverse] <= most_owners
    return Postings(hashes=hashes[own], owners=owners[own], totals=np.bincount(owners[own], minlength=len(counts)))
