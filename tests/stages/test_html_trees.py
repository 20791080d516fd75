"""Trees walked four rows at a time say what they say row by row."""

import numpy as np
import pytest

from stages.html_trees import Trees, add_trees

#: A stump, a tree that is a leaf alone, and one that leans to the left.
TREES = Trees(
    nodes=np.array([[0, 10, ~0, ~1], [1, 5, 2, ~3], [0, 3, 3, ~4], [2, -7, ~5, ~6]], np.int32),
    leaves=np.array([100, -100, 7, 1, 20, 300, 4000], np.int32),
    roots=np.array([0, ~2, 1], np.int32),
)


def by_hand(row):
    total = 0
    for root in TREES.roots.tolist():
        node = root
        while node >= 0:
            feature, threshold, left, right = TREES.nodes[node].tolist()
            node = left if row[feature] <= threshold else right
        total += int(TREES.leaves[~node])
    return total


def test_the_trees_are_read_as_they_are_written():
    assert [by_hand(row) for row in ([10, 6, 0], [11, 5, 0], [3, 5, -7], [3, 5, -6])] == [108, -73, 407, 4107]


@pytest.mark.parametrize("count", [0, 1, 3, 4, 5, 11])
def test_any_number_of_rows_gets_the_sum_of_its_leaves(count):
    rows = np.random.default_rng(count).integers(-12, 14, (count, 5)).astype(np.int32)
    sums = np.full(count, 5, np.int64)
    add_trees(rows, count, *TREES.laid, sums)
    assert sums.tolist() == [5 + by_hand(row) for row in rows.tolist()]


def test_rows_behind_those_asked_for_are_left_alone():
    rows, sums = np.zeros((8, 3), np.int32), np.zeros(8, np.int64)
    add_trees(rows, 5, *TREES.laid, sums)
    assert (sums != 0).tolist() == [True] * 5 + [False] * 3
