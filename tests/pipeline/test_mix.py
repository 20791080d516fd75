"""The mix: what weights, caps and epochs become, and that every repetition and omission is booked."""

from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from corpus import make_crawl, write_recipe

from pipeline.phases.mix import copies_of, effective_tokens, group_of, resolve
from pipeline.recipe import Mix, MixSource, RecipeError, load_recipe
from pipeline.run import Options, run
from pipeline.verify import verify


def mix(*sources: dict, by: str = "tokens") -> Mix:
    return Mix(by=by, sources=tuple(MixSource(**source) for source in sources))


def test_effective_tokens_follow_the_published_curve() -> None:
    # Muennighoff et al.: what 2, 4, 16 and 40 epochs are worth, as a share of as many unique tokens.
    for epochs, share in ((1, 1.0), (2, 0.984), (4, 0.931), (16, 0.661), (40, 0.379)):
        assert effective_tokens(10**6, epochs) / (epochs * 10**6) == pytest.approx(share, abs=0.001)
    assert effective_tokens(1000, 0.25) == 250


def test_epochs_and_caps_are_taken_as_they_stand() -> None:
    asked = mix({"source": "a*", "epochs": 4}, {"source": "b*", "epochs": 2, "cap": 50}, {"epochs": 0.25})
    assert resolve(asked, [100, 100, 100]) == [4, 0.5, 0.25]
    assert resolve(asked, [100, 0, 100]) == [4, 0, 0.25]


def test_weights_make_the_largest_mix_that_holds_the_shares() -> None:
    asked = mix({"source": "a*", "weight": 3, "max_epochs": 2}, {"weight": 1})
    # 200 of a at most, so 66.67 of the rest beside them.
    assert resolve(asked, [100, 1000]) == [2, 0.066667]
    # Of the rest only 30 are there, so 90 of a.
    assert resolve(asked, [100, 30]) == [0.9, 1]
    with pytest.raises(ValueError, match=r"no document of a\* was kept"):
        resolve(asked, [0, 30])


def test_a_document_belongs_to_the_first_source_that_it_matches() -> None:
    sources = mix({"host": "*.Example.org"}, {"source": "wiki/*"}, {}).sources
    assert group_of(sources, "wiki/1", "https://en.example.org/x") == 0
    assert group_of(sources, "wiki/1", "https://example.com/x") == 1
    assert group_of(sources, "crawl/1", None) == 2


def test_copies_are_whole_epochs_and_a_draw_by_id() -> None:
    ids = [f"{n:032x}" for n in range(20_000)]
    times = copies_of(ids, np.full(len(ids), 2.25))
    assert set(times.tolist()) == {2, 3}
    assert times.mean() == pytest.approx(2.25, abs=0.015)
    fewer, more = (copies_of(ids, np.full(len(ids), epochs)) for epochs in (0.3, 0.4))
    assert (fewer <= more).all()
    assert not copies_of(ids, np.zeros(len(ids))).any()


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        ([{"source": "a*"}], "the last source must match every document"),
        ([{"source": "a*", "weight": 1}, {}], "a weight to every source or to none"),
        ([{"weight": 0}], "at least one weight must be above 0"),
        ([{"weight": 1, "epochs": 2}], "a weight or epochs, not both"),
    ],
)
def test_mixes_that_cannot_be_say_why(sources: list[dict], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mix(*sources)


def doc_ids(folder: Path, split: str) -> Counter[tuple[str, str]]:
    found: Counter[tuple[str, str]] = Counter()
    for path in sorted((folder / "shards").glob(f"{split}-*.parquet")):
        table = pq.read_table(path)
        found.update(zip(table["source"].to_pylist(), table["doc_id"].to_pylist(), strict=True))
    return found


def test_a_run_repeats_and_leaves_out_what_the_mix_says_and_books_it(tmp_path: Path) -> None:
    crawl = make_crawl(tmp_path / "crawl", pages_per_file=10)
    recipe = write_recipe(tmp_path, crawl)
    with recipe.open("a") as lines:
        lines.write('mix:\n  sources:\n    - {source: "*00001*", epochs: 3}\n')
        lines.write('    - {host: "site2.test", epochs: 0}\n    - {source: "*"}\n')
    out = tmp_path / "out"
    options = Options(out=str(out), work=str(tmp_path / "work"), runner="inline")
    manifest = run(load_recipe(recipe), options)
    assert verify(str(out))[0] == []
    thrice, never, once = manifest["shards"]["mix"]
    for (source, _), times in doc_ids(out, "train").items():
        assert times == (3 if "00001" in source else 1)
        assert "00002" not in source
    assert not any("00002" in source for source, _ in doc_ids(out, "validation"))
    assert thrice["written"]["documents"] == 3 * thrice["available"]["documents"]
    assert thrice["repeated"]["tokens"] == 2 * thrice["available"]["tokens"]
    assert thrice["effective_tokens"] == effective_tokens(thrice["available"]["tokens"], 3)
    assert never["left_out"] == never["available"]
    assert never["available"]["documents"] > 0
    assert once["written"] == once["available"]
    assert sum(line["written"]["tokens"] for line in (thrice, never, once)) == manifest["shards"]["train"]["tokens"]
    # One knob more: nothing but the draw and the shards is made again.
    more = run(load_recipe(recipe, overrides=["mix.sources.0.epochs=2"]), options)
    executed = {phase["name"] for phase in more["phases"] if phase["executed"]}
    assert executed == {
        "mix.copies",
        "shuffle",
        "shards",
    }


def test_the_shards_of_a_recipe_that_loses_text_are_refused_before_any_work(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, tmp_path)
    for wrong in ("tokenizer.type=wordlevel", "tokenizer.normalization=nfkc"):
        with pytest.raises(RecipeError, match="does not give every text back"):
            load_recipe(recipe, overrides=[wrong])
    with recipe.open("a") as lines:
        lines.write("mix: {sources: [{source: '*'}]}\n")
    with pytest.raises(RecipeError, match="there is no 'shards'"):
        load_recipe(recipe, overrides=["shards=null"])
    with pytest.raises(RecipeError, match="a wordpiece vocabulary needs 513"):
        load_recipe(recipe, overrides=["tokenizer.type=wordpiece", "tokenizer.vocab_size=300"])
