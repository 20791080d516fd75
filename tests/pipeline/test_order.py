"""A curriculum: documents in the buckets of their measure, shuffled within one, the same however the run is made."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from corpus import prose, write_recipe

from pipeline.phases.order import bucket_of, description, ranges
from pipeline.recipe import RecipeError, load_recipe
from pipeline.run import Options, run
from pipeline.verify import verify
from tokenizer.shards import ShardSet
from train.loader import Loader


def test_a_limit_belongs_to_the_range_above_it_and_what_has_no_measure_comes_last() -> None:
    values = np.array([0.1, 0.2, 0.3, 0.5, 9.0, np.nan])
    assert bucket_of(values, [0.2, 0.5], descending=False).tolist() == [0, 1, 1, 2, 2, 3]
    assert bucket_of(values, [0.2, 0.5], descending=True).tolist() == [2, 1, 1, 0, 0, 3]
    assert ranges([0.2, 0.5], descending=False) == [(None, 0.2), (0.2, 0.5), (0.5, None)]
    assert ranges([0.2, 0.5], descending=True) == [(0.5, None), (0.2, 0.5), (None, 0.2)]
    assert description("quality_score", [0.2, 0.5], descending=True) == "quality_score descending, limits 0.2, 0.5"


@pytest.mark.parametrize(
    ("order", "message"),
    [
        ("{by: qualty_score, limits: [0.5]}", r"shards.order.by 'qualty_score'.*Did you mean"),
        ("{by: text, limits: [0.5]}", "no stage of this recipe measures such a number"),
        ("{by: n_tokens, limits: [9, 9]}", "must be numbers that ascend"),
        ("{by: n_tokens, limits: []}", "limits"),
    ],
)
def test_orders_that_cannot_be_are_refused_before_any_work(tmp_path: Path, order: str, message: str) -> None:
    recipe = write_recipe(tmp_path, tmp_path)
    with pytest.raises(RecipeError, match=message):
        load_recipe(recipe, overrides=[f"shards.order={order}"])


RECIPE = """
name: ordered
input: {{paths: ["{folder}"], split_bytes: {split_bytes}}}
stages:
  - {{type: extract}}
  - {{type: gopher_quality, min_words: 0, min_stop_words: 0}}
tokenizer: {{vocab_size: 300}}
shards: {{tokens_per_shard: 3000, validation_fraction: 0.1, order: {{by: {by}, limits: [40, 60], descending: {down}}}}}
"""


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Texts of 16 to 90 words."""
    folder = tmp_path_factory.mktemp("texts")
    for name, first in (("books.jsonl", 0), ("forum.jsonl", 500)):
        rows = (" ".join(prose(first + n, sentences=1 + n % 5)) for n in range(60))
        (folder / name).write_text("".join(json.dumps({"text": text}) + "\n" for text in rows))
    return folder


def ordered(
    place: Path, texts: Path, *, by: str = "word_count", down: str = "false", split_bytes: int = 1 << 20, mix: str = "",
    runner: str = "inline", out: str = "out",
) -> tuple[dict, ShardSet]:  # fmt: skip
    place.mkdir(exist_ok=True)
    recipe = place / f"{out}.yaml"
    recipe.write_text(RECIPE.format(folder=texts, split_bytes=split_bytes, by=by, down=down) + mix)
    options = Options(out=str(place / out), work=str(place / "work"), runner=runner, workers=2)
    manifest = run(load_recipe(recipe), options)
    assert verify(str(place / out))[0] == []
    return manifest, ShardSet.from_folder(place / out / "shards")


def rows(shards: ShardSet) -> list[tuple[int, int, str]]:
    """(bucket, tokens, id) of every document in shard order."""
    found = []
    for shard in shards.shards:
        table = pq.read_table(shard.path)
        counts, ids = table["n_tokens"].to_pylist(), table["doc_id"].to_pylist()
        found += [(shard.metadata.bucket, count, doc) for count, doc in zip(counts, ids, strict=True)]
    return found


def words(place: Path) -> dict[str, int]:
    """The measure that the stage stored for each kept document."""
    parts = [pq.read_table(path, columns=["id", "word_count"]) for path in (place / "kept").glob("*.parquet")]
    return {row["id"]: row["word_count"] for part in parts for row in part.to_pylist()}


def test_shards_follow_the_measure_and_the_books_say_what_is_where(tmp_path: Path, texts: Path) -> None:
    manifest, shards = ordered(tmp_path, texts)
    assert shards.metadata.order == "word_count ascending, limits 40, 60"
    measured = words(tmp_path / "out")
    for bucket, _, doc in rows(shards):
        assert bucket == (measured[doc] >= 40) + (measured[doc] >= 60)
    found = Counter(bucket for bucket, _, _ in rows(shards))
    books = manifest["shards"]["order"]["buckets"]
    assert [line["documents"] for line in books] == [found[0], found[1], found[2], 0]
    assert min(found[0], found[1], found[2]) > 0
    assert [(line["from"], line["below"]) for line in books[:3]] == [(None, 40), (40, 60), (60, None)]
    assert sum(line["tokens"] for line in books) == manifest["shards"]["train"]["tokens"]
    assert [line["shards"] for line in books] == [-(-line["tokens"] // 3000) for line in books]
    assert books[2]["shards"] > 1
    assert sum(line["shards"] for line in books) == manifest["shards"]["train"]["shards"] == len(shards.shards)
    # Within a bucket documents are shuffled: not by the measure, nor as they came.
    first = [measured[doc] for bucket, _, doc in rows(shards) if bucket == 0]
    assert first != sorted(first)
    # Validation is a sample, without an order.
    assert ShardSet.from_folder(tmp_path / "out" / "shards", split="validation").metadata.order == ""
    # The loader in stored order gives every document in the order of the shards.
    loader = Loader(shards, sequence_length=50, batch_sequences=2, seed=9, order="stored")
    read = np.concatenate([loader.next_batch()[0].flatten() for _ in range(loader.epoch_tokens // 100)])
    separators = np.flatnonzero(read == shards.metadata.end_of_text_id)
    lengths = [tokens for _, tokens, _ in rows(shards)]
    assert (np.diff(separators) - 1).tolist() == lengths[: len(separators) - 1]
    assert len(separators) > 0.95 * len(lengths)


def test_workers_and_splits_leave_the_order_as_it_is(tmp_path: Path, texts: Path) -> None:
    one, shards = ordered(tmp_path / "one", texts)
    assert ordered(tmp_path / "ray", texts, runner="ray")[0]["root"] == one["root"]
    cut = ordered(tmp_path / "cut", texts, split_bytes=2048)[1]
    assert [each.totals.content_sha256 for each in cut.shards] == [each.totals.content_sha256 for each in shards.shards]


def test_copies_of_a_mix_are_in_the_bucket_of_their_document(tmp_path: Path, texts: Path) -> None:
    one, once = ordered(tmp_path, texts)
    more, twice = ordered(tmp_path, texts, mix="mix: {sources: [{source: '*', epochs: 2}]}", out="more")
    assert Counter(rows(twice)) == Counter({row: 2 * times for row, times in Counter(rows(once)).items()})
    documents = [line["documents"] for line in one["shards"]["order"]["buckets"]]
    assert [line["documents"] for line in more["shards"]["order"]["buckets"]] == [2 * number for number in documents]


def test_the_highest_first_pays_for_the_order_alone(tmp_path: Path, texts: Path) -> None:
    up, _ = ordered(tmp_path, texts)
    down, shards = ordered(tmp_path, texts, down="true", out="down")
    executed = {phase["name"] for phase in down["phases"] if phase["executed"]}
    assert executed == {"order.buckets", "shuffle", "shards"}
    assert [line["documents"] for line in down["shards"]["order"]["buckets"]][:3] == [
        line["documents"] for line in up["shards"]["order"]["buckets"]
    ][2::-1]
    measured = words(tmp_path / "down")
    assert measured[rows(shards)[0][2]] >= 60 > 40 > measured[rows(shards)[-1][2]]


def test_an_order_by_what_encoding_counts(tmp_path: Path, texts: Path) -> None:
    _, shards = ordered(tmp_path, texts, by="n_tokens")
    for bucket, tokens, _ in rows(shards):
        assert bucket == (tokens >= 40) + (tokens >= 60)
