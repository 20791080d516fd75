"""Boosted trees of whole numbers: how they lie in memory, and how rows are taken through them."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np

from stages.compiled import compiled

#: Numbers of a node: feature, threshold (<= goes left), left, right.
_NODE: Final = 4
_NEVER_ABOVE: Final = 2**31 - 1
#: Numbers that are no index from behind: without this numba looks at the sign of each.
_U = np.uint64
_ONE, _TWO, _FOUR = np.uint64(1), np.uint64(2), np.uint64(4)


@dataclass(frozen=True, kw_only=True)
class Trees:
    """Boosted trees as flat arrays of whole numbers."""

    #: int32[nodes, 4]: feature, threshold (<= goes left), left, right; ~leaf below 0.
    nodes: Any
    #: int32[leaves], in 1/2**16 of a logit.
    leaves: Any
    #: int32[trees]
    roots: Any

    @cached_property
    def laid(self) -> tuple[Any, Any, Any]:
        """What `add_trees` walks: nodes, values, roots. Leaves stand behind the nodes and lead to themselves, and all
        places are offsets into one flat array."""
        inner = len(self.nodes)
        nodes = np.zeros((inner + len(self.leaves), _NODE), np.int32)
        nodes[:inner] = self.nodes
        below = nodes[:inner, 2:]
        nodes[:inner, 2:] = np.where(below < 0, inner + ~below, below) * _NODE
        nodes[inner:, 1] = _NEVER_ABOVE
        nodes[inner:, 2] = np.arange(inner, len(nodes)) * _NODE
        roots = np.where(self.roots < 0, inner + ~self.roots, self.roots) * _NODE
        return nodes.reshape(-1), self.leaves, roots.astype(np.int32)


@compiled
def add_trees(rows: Any, count: int, nodes: Any, values: Any, roots: Any, sums: Any) -> None:
    """Add each tree's leaf to `sums` of the first `count` rows; nodes, values and roots as `Trees.laid` has them.

    Four rows go down a tree together, so that the processor waits for four loads at a time and guesses no branch:
    twice as fast as one by one.
    """
    flat, width = rows.reshape(-1), _U(rows.shape[1])
    first_leaf = _U(nodes.size - 4 * values.size)
    for tree in range(roots.size):
        root = _U(roots[tree])
        row = 0
        while row + 4 <= count:
            zero = _U(row) * width
            one = zero + width
            two = one + width
            three = two + width
            a = b = c = d = root
            while a < first_leaf or b < first_leaf or c < first_leaf or d < first_leaf:
                a = _U(nodes[a + _TWO + _U(flat[zero + _U(nodes[a])] > nodes[a + _ONE])])
                b = _U(nodes[b + _TWO + _U(flat[one + _U(nodes[b])] > nodes[b + _ONE])])
                c = _U(nodes[c + _TWO + _U(flat[two + _U(nodes[c])] > nodes[c + _ONE])])
                d = _U(nodes[d + _TWO + _U(flat[three + _U(nodes[d])] > nodes[d + _ONE])])
            sums[row] += values[(a - first_leaf) // _FOUR]
            sums[row + 1] += values[(b - first_leaf) // _FOUR]
            sums[row + 2] += values[(c - first_leaf) // _FOUR]
            sums[row + 3] += values[(d - first_leaf) // _FOUR]
            row += 4
        while row < count:
            zero = _U(row) * width
            a = root
            while a < first_leaf:
                a = _U(nodes[a + _TWO + _U(flat[zero + _U(nodes[a])] > nodes[a + _ONE])])
            sums[row] += values[(a - first_leaf) // _FOUR]
            row += 1
