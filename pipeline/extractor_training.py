"""What the judge of the engine `tamis` learns: labels by alignment, weights of names, two layers of boosted trees.

The first judge sees a block and its surroundings, the second also what the first made of the neighbours. What one
learner passes to the next is made out of fold: no row is described by weights that were fitted to it, and no site
lies in two folds.
"""

import hashlib
import importlib
import io
import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from scipy.optimize import minimize
from scipy.sparse import csr_matrix

from stages import html_blocks as reading
from stages import html_features as seeing
from stages.extract_tamis import (
    Blocks,
    Judge,
    add,
    blocks_of,
    features,
    measured,
    scores_from,
    second_features,
)
from stages.html_names import NUMBER, TOKEN_BUCKETS
from stages.html_trees import Trees

#: Words; a character of a script without spaces is one.
_UNSPACED: Final = "\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
_TOKEN: Final = re.compile(f"[{_UNSPACED}]|[^\\W{_UNSPACED}]+")
_SHINGLE: Final = 4
#: Share of a block's words that lie in shingles of the reference from which the block is main text.
_MIN_COVERED: Final = 0.5
FOLDS: Final = 4
#: Weights of names count in 1/256 of a logit; five logits are as sure as a name can be.
_NAME_SCALE: Final = 256
_NAME_PENALTY: Final = 3.0
#: Pages of more blocks are endless lists: a hundredth of the pages, and a third of all blocks.
_MOST_BLOCKS: Final = 600
_TITLE: Final = NUMBER["title"]
_LEAF_SCALE: Final = 1 << 16


@dataclass(frozen=True, kw_only=True)
class Example:
    """A page and its main text as somebody sees it."""

    page: str
    reference: str
    #: Registered domain: pages of one are never on both sides of a split.
    site: str
    #: How much this page counts.
    weight: float


@dataclass(frozen=True, kw_only=True)
class Training:
    """How much is learned, and how fast."""

    first_trees: int = 120
    second_trees: int = 160
    leaves: int = 31
    learning_rate: float = 0.09
    min_rows: int = 60
    #: Between the sets whose gold leaves out what surrounds an article and those whose gold keeps it.
    bias: int = 400


@dataclass(kw_only=True)
class _Rows:
    """One page, read."""

    example: Example
    fold: int
    labels: Any
    weights: Any
    #: (block, bucket) pairs: names of each block's elements and of what is inline in it.
    names: Any


def tokens_of(text: str) -> list[str]:
    return _TOKEN.findall(text.lower())


def labels_for(blocks: Blocks, reference: str) -> Any:
    """float64[blocks]: share of the block's words that lie in runs of four words that the reference has too.

    Runs reach across blocks, so that a heading of one word counts where it stands between what is main text.
    """
    words = tokens_of(reference)
    known = {tuple(words[at : at + _SHINGLE]) for at in range(max(1, len(words) - _SHINGLE + 1))}
    stream: list[str] = []
    owner: list[int] = []
    for block in range(len(blocks)):
        if blocks.narrow[block, reading.TAG] == _TITLE:
            continue
        own = tokens_of(blocks.raw(block).decode("utf-8"))
        stream += own
        owner += [block] * len(own)
    covered = np.zeros(len(stream), bool)
    for at in range(len(stream) - _SHINGLE + 1):
        if tuple(stream[at : at + _SHINGLE]) in known:
            covered[at : at + _SHINGLE] = True
    total = np.bincount(owner, minlength=len(blocks)).astype(float)
    inside = np.bincount(owner, weights=covered, minlength=len(blocks)) if owner else np.zeros(len(blocks))
    return inside / np.maximum(total, 1)


def fold_of(site: str) -> int:
    return int.from_bytes(hashlib.sha256(site.encode()).digest()[:4], "big") % FOLDS


_NO_NAMES: Final = np.zeros(TOKEN_BUCKETS, np.int16)


def read(example: Example) -> _Rows | None:
    """The page's blocks with labels; None if there is nothing to learn from it."""
    blocks = blocks_of(example.page.encode("utf-8", "replace"), _NO_NAMES, collect=True)
    if not 2 <= len(blocks) <= _MOST_BLOCKS or not example.reference.strip():
        return None
    labels = labels_for(blocks, example.reference)
    sizes = measured(blocks).sizes[:, seeing.CHARACTERS].astype(float)
    weights = sizes**0.6
    weights[blocks.narrow[:, reading.TAG] == _TITLE] = 0
    # Scores are means over pages, so a page of a thousand blocks counts little more than one of ten.
    weights *= 6 * example.weight / max(1.0, weights.sum()) ** 0.8
    return _Rows(example=example, fold=fold_of(example.site), labels=labels, weights=weights, names=_names(blocks))


def _names(blocks: Blocks) -> Any:
    own: list[list[int]] = [[] for _ in blocks.parents]
    inline: list[list[int]] = [[] for _ in range(len(blocks) + 1)]
    for bucket, owner in blocks.seen.tolist():
        if owner >= 0:
            own[owner].append(bucket)
        else:
            inline[min(-1 - owner, len(blocks))].append(bucket)
    above: list[frozenset[int]] = [frozenset()]
    parents = blocks.parents.tolist()
    for element in range(1, len(parents)):
        mine = own[element]
        base = above[parents[element]]
        above.append(base.union(mine) if mine else base)
    pairs = []
    for block, element in enumerate(blocks.wide[:, reading.ELEMENT].tolist()):
        pairs += [(block, bucket) for bucket in sorted(above[element].union(inline[block]))]
    return np.array(pairs, np.int32).reshape(-1, 2)


def fit_names(pages: Sequence[_Rows]) -> Any:
    """int16[TOKEN_BUCKETS]: logistic regression of a block's label on the names that it stands under."""
    offsets = np.cumsum([0] + [len(page.labels) for page in pages])
    pairs = [page.names + np.array([offset, 0], np.int32) for page, offset in zip(pages, offsets[:-1], strict=True)]
    joined = np.concatenate(pairs)
    matrix = csr_matrix((np.ones(len(joined)), (joined[:, 0], joined[:, 1])), shape=(int(offsets[-1]), TOKEN_BUCKETS))
    labels = np.concatenate([page.labels >= _MIN_COVERED for page in pages]).astype(float)
    weights = np.concatenate([page.weights for page in pages])
    transposed = matrix.T.tocsr()

    def loss(parameters: Any) -> tuple[float, Any]:
        logits = matrix @ parameters[:-1] + parameters[-1]
        value = float(weights @ (np.logaddexp(0, logits) - labels * logits))
        slope = weights * (1 / (1 + np.exp(-logits)) - labels)
        penalty = _NAME_PENALTY * parameters[:-1]
        return value + 0.5 * float(penalty @ parameters[:-1]), np.append(transposed @ slope + penalty, slope.sum())

    found = minimize(loss, np.zeros(TOKEN_BUCKETS + 1), jac=True, method="L-BFGS-B", options={"maxiter": 30})
    return np.clip(np.rint(found.x[:-1] * _NAME_SCALE), -5 * _NAME_SCALE, 5 * _NAME_SCALE).astype(np.int16)


def fit_trees(rows: Any, labels: Any, weights: Any, *, trees: int, training: Training) -> Trees:
    """Boosted trees with whole thresholds and leaves. Same rows, same trees."""
    try:
        lightgbm = importlib.import_module("lightgbm")
    except ImportError as error:
        raise ImportError("training the extractor needs lightgbm: pip install 'tamis[extractor]'") from error
    booster = lightgbm.train(
        {
            "objective": "binary",
            "num_leaves": training.leaves,
            "learning_rate": training.learning_rate,
            "min_data_in_leaf": training.min_rows,
            "lambda_l2": 2.0,
            "feature_fraction": 0.5,
            "bagging_fraction": 0.7,
            "bagging_freq": 1,
            "max_bin": 63,
            "use_missing": False,
            "deterministic": True,
            "force_row_wise": True,
            "seed": 0,
            "num_threads": 1,
            "verbosity": -1,
            "boost_from_average": False,
        },
        lightgbm.Dataset(rows, (labels >= _MIN_COVERED).astype(float), weight=weights * 10, free_raw_data=True),
        num_boost_round=trees,
    )
    return _exported(booster.dump_model())


def _exported(model: Any) -> Trees:
    nodes: list[tuple[int, int, int, int]] = []
    leaves: list[int] = []
    roots: list[int] = []

    def place(tree: Any) -> int:
        if "leaf_value" in tree:
            leaves.append(round(tree["leaf_value"] * _LEAF_SCALE))
            return ~(len(leaves) - 1)
        here = len(nodes)
        nodes.append((0, 0, 0, 0))
        left = place(tree["left_child"])
        right = place(tree["right_child"])
        nodes[here] = (tree["split_feature"], int(np.floor(tree["threshold"])), left, right)
        return here

    roots.extend(place(info["tree_structure"]) for info in model["tree_info"])
    return Trees(
        nodes=np.array(nodes, np.int32).reshape(-1, 4),
        leaves=np.array(leaves, np.int32),
        roots=np.array(roots, np.int32),
    )


def _first_features(page: _Rows, names: Any) -> tuple[Blocks, Any]:
    blocks = blocks_of(page.example.page.encode("utf-8", "replace"), names)
    return blocks, features(blocks, measured(blocks))


def train(examples: Sequence[Example], training: Training, *, rows: Sequence[_Rows] | None = None) -> Judge:
    """A judge from pages and their main texts. Same examples in the same order, same judge."""
    pages = [page for page in (rows if rows is not None else map(read, examples)) if page is not None]
    folds = sorted({page.fold for page in pages})
    names_of = {fold: fit_names([page for page in pages if page.fold != fold]) for fold in folds}
    names = fit_names(pages)
    described = [_first_features(page, names_of[page.fold]) for page in pages]
    first_of = {}
    for fold in folds:
        inside = [at for at, page in enumerate(pages) if page.fold != fold]
        first_of[fold] = _fit(pages, [described[at][1] for at in inside], inside, training.first_trees, training)
    first = _fit(pages, [rows_ for _, rows_ in described], range(len(pages)), training.first_trees, training)
    seconds = []
    for page, (blocks, first_rows) in zip(pages, described, strict=True):
        scores = scores_from(add(first_rows, first_of[page.fold]))
        seconds.append(second_features(blocks, measured(blocks), first_rows, scores))
    second = _fit(pages, seconds, range(len(pages)), training.second_trees, training)
    return Judge(tokens=names, first=first, second=second, bias=training.bias)


def _fit(pages: Sequence[_Rows], rows: Sequence[Any], which: Sequence[int], trees: int, training: Training) -> Trees:
    labels = np.concatenate([pages[at].labels for at in which])
    weights = np.concatenate([pages[at].weights for at in which])
    return fit_trees(np.concatenate(rows), labels, weights, trees=trees, training=training)


def judge_bytes(judge: Judge) -> bytes:
    """The judge as a file: an npz without times, so that the same judge is the same bytes."""
    arrays = {
        "tokens": judge.tokens,
        "bias": np.array(judge.bias, np.int32),
        "first_nodes": judge.first.nodes,
        "first_leaves": judge.first.leaves,
        "first_roots": judge.first.roots,
        "second_nodes": judge.second.nodes,
        "second_leaves": judge.second.leaves,
        "second_roots": judge.second.roots,
    }
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name, array in sorted(arrays.items()):
            part = io.BytesIO()
            np.lib.format.write_array(part, np.asarray(array), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0)), part.getvalue())
    return out.getvalue()
