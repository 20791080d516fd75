"""What the contract test hands to the stages: settings where a stage has no defaults, and loaded resources."""

import tempfile
from pathlib import Path
from typing import Any

import pytest

from stages.decontaminate import build_benchmark
from stages.held_out import build_index
from stages.stage import Settings, Stage
from stages.url_filter import build_list
from stages.word_list import build_words

BUILTIN = Path(__file__).parents[2] / "pipeline" / "builtin"

#: Settings that a stage cannot do without.
REQUIRED: dict[str, dict[str, Any]] = {
    "held_out": {"against": "held-out"},
    "url_filter": {"blocklist": "blocked.txt"},
    "decontaminate": {"against": ("one.jsonl",)},
    "word_list": {"lists": ("en.txt",)},
    "perplexity": {"model": "tiny.arpa"},
}
#: Entries of the list of blocked addresses: the contract test's documents are of example.org.
BLOCKED = ("blocked.com", "example.org")
#: Words of a list: the contract test's documents hold some.
LISTED_WORDS = ("stupid", "idiots", "天气")
#: What the index of held-out documents is built from.
HELD_OUT = (
    "The quick brown fox jumps over the lazy dog, and then it sleeps under the old oak tree until the evening.",
)

#: A bigram model of three words, whose probabilities one can add up by hand: log10, n-gram, back-off weight.
TINY_ARPA = """\\data\\
ngram 1=6
ngram 2=3

\\1-grams:
-2.0\t<unk>
0\t<s>\t-0.5
-1.0\t</s>
-1.0\tthe\t-0.5
-1.5\triver\t-0.5
-1.5\trises\t-0.5

\\2-grams:
-0.25\t<s> the
-0.5\tthe river
-0.5\trises </s>

\\end\\
"""


def settings_for(stage: Stage, **changed: Any) -> Settings:
    """The stage's settings at their defaults, but for what it requires and for `changed`.

    Skips the test of a stage whose package is an extra that is not installed.
    """
    if stage.name == "perplexity":
        pytest.importorskip("kenlm")
    return stage.settings(**{**REQUIRED.get(stage.name, {}), **changed})


def resources_for(stage: Stage, settings: Settings) -> dict[str, Any]:
    """The stage's resources, loaded. Skips the test, naming the file, where a bundled model is not there."""
    return {resource.name: _load(resource) for resource in stage.resources(settings)}


def _load(resource: Any) -> Any:
    if resource.kind == "held_out":
        return build_index(HELD_OUT, resource.parameters["size"])
    if resource.kind == "benchmark":
        return build_benchmark([{"text": text} for text in HELD_OUT], **resource.parameters)
    if resource.kind == "word_list":
        return build_words(LISTED_WORDS)
    if resource.kind == "url_list":
        return build_list(BLOCKED)
    if resource.kind == "kenlm":
        kenlm = pytest.importorskip("kenlm")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "tiny.arpa"
            path.write_text(TINY_ARPA, encoding="utf-8")
            return kenlm.Model(str(path))
    if resource.kind == "fasttext":
        import fasttext

        path = BUILTIN / f"{resource.reference.removeprefix('builtin/')}.ftz"
        if not path.is_file():
            pytest.skip(f"the bundled model {path.name} is not there")
        return fasttext.load_model(str(path))
    raise ValueError(f"resource {resource.name!r} has the kind {resource.kind!r}: say here how a test gets one")
