"""A cluster side by side: who was kept, who was removed, and the words by which they differ."""

import re
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner
from warcs import member, record

from pipeline.cli import app
from pipeline.dups import cluster, dups, stretches
from pipeline.explain import UnknownDocumentError, find
from pipeline.recipe import load_recipe
from pipeline.run import Options, run

RECIPE = """\
name: dups
input: {{paths: ["{path}"]}}
stages:
  - {{type: extract}}
  - {{type: exact_dedup}}
  - {{type: near_dedup, threshold: 0.6}}
"""
BASE = " ".join(f"word{number}" for number in range(60))
#: b is a copy of a but for case; c differs in some words; d has nothing to do with them.
TEXTS = {
    "a": f"{BASE} and the end.",
    "b": f"{BASE.upper()} and the end",
    "c": BASE.replace("word30", "blue sky").replace("word32", "green"),
    "d": " ".join(f"other{number}" for number in range(60)),
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("dups")
    members = [
        member(record(text.encode(), kind="conversion", url=f"http://site.test/{name}")) for name, text in TEXTS.items()
    ]
    (folder / "docs.warc.gz").write_bytes(b"".join(members))
    (folder / "r.yaml").write_text(RECIPE.format(path=folder / "docs.warc.gz"))
    run(
        load_recipe(folder / "r.yaml"),
        Options(out=str(folder / "out"), work=str(folder / "work"), runner="inline"),
    )
    return folder


def identity(folder: Path, name: str) -> str:
    return next(row["id"] for _, row in find(str(folder / "out"), f"http://site.test/{name}"))


def shown(folder: Path, name: str, **options) -> str:
    console = Console(width=160, record=True, file=None, quiet=True)
    with console.capture() as capture:
        console.quiet = False
        console.print(dups(str(folder / "out"), f"http://site.test/{name}", **options), highlight=False)
    return capture.get()


def test_partners_connect_the_cluster_from_any_of_its_members(finished):
    ids = {name: identity(finished, name) for name in TEXTS}
    for name in "abc":
        members = cluster(str(finished / "out"), ids[name])
        assert set(members) == {ids["a"], ids["b"], ids["c"]}
        assert [member.id for member in members.values() if member.kept] == [ids["a"]]
        assert members[ids["b"]].stage == "exact_dedup"
        assert members[ids["c"]].stage == "near_dedup"
        assert members[ids["c"]].partner == ids["a"]


def test_side_by_side_with_similarity_threshold_and_the_words_that_differ(finished):
    text = shown(finished, "c")
    lines = [line for line in text.splitlines() if line.startswith("│≠")]
    assert "word30" in lines[0]
    assert "blue sky word31 green" in lines[0], "one word in common does not part two differences"
    assert "and the end." in lines[1]
    assert "(threshold 0.6)" in text
    assert re.search(r"by near_dedup 0\.[678]\d+ ", text)
    assert "words alike" in text


def test_the_document_that_was_asked_for_comes_first_then_the_least_similar(finished):
    assert shown(finished, "b", limit=1).count("words alike") == 0
    assert "WORD59" in shown(finished, "b", limit=1)
    assert "blue sky" in shown(finished, "a", limit=1)
    assert "WORD59" in shown(finished, "a")


def test_who_is_nobodys_duplicate_and_who_is_unknown_is_said(finished):
    with pytest.raises(UnknownDocumentError, match="nobody's duplicate"):
        shown(finished, "d")
    with pytest.raises(UnknownDocumentError, match="no document of this run"):
        shown(finished, "e")


def test_without_the_work_folder_it_says_which_text_is_missing(finished, tmp_path):
    assert f"no text of {identity(finished, 'a')}" in shown(finished, "c", work=str(tmp_path))


def test_the_command_prints_it(finished):
    result = CliRunner().invoke(app, ["dups", str(finished / "out"), "http://site.test/c"])
    assert result.exit_code == 0, result.output
    assert "3 documents, connected by partners" in result.output
    assert CliRunner().invoke(app, ["dups", str(finished / "out"), "nobody"]).exit_code == 2


def test_stretches_joined_again_are_both_texts():
    found = stretches("one two three four", "one 2 three four five")
    assert [(s.alike, s.kept, s.removed) for s in found] == [
        (True, ("one",), ("one",)),
        (False, ("two",), ("2",)),
        (True, ("three", "four"), ("three", "four")),
        (False, (), ("five",)),
    ]
    assert stretches("", "") == []
