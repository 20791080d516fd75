"""tamis tokenizer train and eval: the command's own behaviour, on texts that one can read."""

import gzip
import json
from pathlib import Path

import pytest
from corpus import make_crawl, write_recipe
from typer.testing import CliRunner

import pipeline.cli
from pipeline.phases.sample import sample_fractions
from pipeline.texts import read_texts, text_files
from tokenizer.bpe import load

ENGLISH = [f"The miller measured {n} old bridges near the quiet river, and then went home." for n in range(200)]
GERMAN = [f"Der Müller hat {n} alte Brücken gemessen und ging danach nach Hause." for n in range(200)]


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("texts")
    rows = [{"language": "en", "text": text} for text in ENGLISH] + [{"language": "de", "text": t} for t in GERMAN]
    with gzip.open(folder / "both.jsonl.gz", "wt", encoding="utf-8") as lines:
        lines.writelines(json.dumps(row) + "\n" for row in rows)
    (folder / "code.txt").write_text("def f(x):\n    return x\n" * 50)
    return folder


def tamis(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(pipeline.cli.app, ["tokenizer", *map(str, arguments)])
    return result.exit_code, result.output


def learned(texts: Path, out: Path, *options: object) -> Path:
    code, output = tamis("train", texts / "both.jsonl.gz", "--out", out, "--vocab-size", 300, *options)
    assert code == 0, output
    return out


def test_a_vocabulary_from_texts_is_a_folder_and_a_function_of_the_texts(texts: Path, tmp_path: Path) -> None:
    one = learned(texts, tmp_path / "one")
    with gzip.open(texts / "both.jsonl.gz", "rt", encoding="utf-8") as lines:
        backwards = list(lines)[::-1]
    (tmp_path / "backwards.jsonl").write_text("".join(backwards), encoding="utf-8")
    other = tmp_path / "other"
    assert tamis("train", tmp_path / "backwards.jsonl", "--out", other, "--vocab-size", 300)[0] == 0
    assert (one / "tokenizer.json").read_bytes() == (other / "tokenizer.json").read_bytes()
    assert load((one / "tokenizer.json").read_bytes()).vocab_size == 300
    assert json.loads((one / "tokenizer_config.json").read_text())["eos_token"] == "<|endoftext|>"


def test_weights_decide_what_is_learned_from(texts: Path, tmp_path: Path) -> None:
    english = learned(texts, tmp_path / "en", "--by", "language", "--weight", "en=1", "--weight", "de=0")
    german = learned(texts, tmp_path / "de", "--by", "language", "--weight", "en=0", "--weight", "de=1")
    code, output = tamis("eval", english, german, "--texts", texts / "both.jsonl.gz", "--by", "language", "--json")
    assert code == 0
    of_english, of_german = json.loads(output)
    for mine, other, language in ((of_english, of_german, "en"), (of_german, of_english, "de")):
        assert mine["domains"][language]["bytes_per_token"] > other["domains"][language]["bytes_per_token"]


def test_the_sample_is_drawn_in_proportion_to_the_weights() -> None:
    assert sample_fractions({"a": 1000, "b": 3000}, {}, 1000) == {"a": 0.25, "b": 0.25}
    assert sample_fractions({"a": 1000, "b": 3000}, {"a": 3, "b": 1}, 1000) == {"a": 0.75, "b": 250 / 3000}
    assert sample_fractions({"a": 10, "b": 3000}, {"a": 1}, 1000) == {"a": 1.0, "b": 500 / 3000}


def test_eval_counts_and_shows_numbers_and_blanks(texts: Path, tmp_path: Path) -> None:
    folder = learned(texts, tmp_path / "v")
    code, output = tamis("eval", folder, "--texts", texts, "--json")
    assert code == 0
    (found,) = json.loads(output)
    assert set(found["domains"]) == {"both", "code"}
    assert found["domains"]["both"]["documents"] == 400
    assert found["domains"]["both"]["bytes"] == sum(len(text.encode()) for text in [*ENGLISH, *GERMAN])
    assert found["total"]["tokens"] == sum(domain["tokens"] for domain in found["domains"].values())
    assert found["lossless"] is True
    assert "".join(found["numbers"]["1234567890"]) == "1234567890"
    assert "".join(found["blanks"]["\n\n"]) == "\n\n"
    assert 0 < found["unused"] < 300
    code, table = tamis("eval", folder, "--texts", texts)
    assert code == 0
    assert "entries that occur nowhere" in table


def test_gpt2s_own_files_and_lossy_tokenizers_can_be_measured(texts: Path, tmp_path: Path) -> None:
    model = json.loads((learned(texts, tmp_path / "v", "--pre-tokenizer", "gpt2") / "tokenizer.json").read_text())[
        "model"
    ]
    gpt2 = tmp_path / "gpt2"
    gpt2.mkdir()
    (gpt2 / "encoder.json").write_text(json.dumps(model["vocab"]))
    (gpt2 / "vocab.bpe").write_text("#version: 0.2\n" + "\n".join(" ".join(pair) for pair in model["merges"]) + "\n")
    lossy = learned(texts, tmp_path / "l", "--normalization", "lowercase")
    code, output = tamis("eval", tmp_path / "v", gpt2, lossy, "--texts", texts / "both.jsonl.gz", "--json")
    assert code == 0, output
    mine, theirs, lowered = json.loads(output)
    assert theirs["lossless"] is True
    assert theirs["domains"] == mine["domains"]
    assert lowered["lossless"] is False


def test_a_recipes_documents_can_be_learned_from_without_making_shards(tmp_path: Path) -> None:
    crawl = make_crawl(tmp_path / "crawl", files=1, pages_per_file=12)
    recipe = write_recipe(tmp_path, crawl)
    out = tmp_path / "out"
    chosen = ["--set", "tokenizer.vocab_size=400", "--set", "tokenizer.type=unigram", "--runner", "inline"]
    code, output = tamis("train", recipe, "--out", out, *chosen, "--json")
    assert code == 0, output
    assert json.loads(output)["type"] == "unigram"
    assert sorted(path.name for path in (out / "tokenizer").iterdir()) == [
        "special_tokens_map.json", "tokenizer.json", "tokenizer_config.json",
    ]  # fmt: skip
    assert not (out / "shards").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train", "nowhere.jsonl", "--out", "x"), "there is no such file"),
        (("train", "{texts}", "--out", "x", "--type", "bep"), "choose bpe, unigram"),
        (("train", "{texts}", "--out", "x", "--vocab-size", 500_000), "set vocab_size to"),
        (("train", "{texts}", "--out", "x", "--weight", "en"), "write GROUP=NUMBER"),
        (("train", "{texts}", "--out", "x", "--weight", "fr=1"), "no such group; there are both, code"),
        (("train", "{texts}", "a.yaml", "--out", "x"), "one recipe, or texts"),
        (("eval", "nowhere.json", "--texts", "{texts}"), "no such file"),
        (("eval", "tiktoken:cl100k_base", "--texts", "{texts}"), "tiktoken"),
        (("eval", "{texts}", "--texts", "{texts}"), "a folder without tokenizer.json"),
    ],
)
def test_a_users_mistake_ends_with_code_2_and_a_message(texts: Path, arguments: tuple, message: str) -> None:
    code, output = tamis(*(str(argument).format(texts=texts) for argument in arguments))
    assert code == 2
    assert message in " ".join(output.split())


def test_texts_are_read_by_kind_and_bad_rows_are_named(texts: Path, tmp_path: Path) -> None:
    groups = [item.group for item in read_texts(text_files([texts]))]
    assert groups == ["both"] * 400 + ["code"]
    (tmp_path / "bad.jsonl").write_text('{"text": "a"}\n{"body": "b"}\n')
    with pytest.raises(ValueError, match=r"row 2: needs 'text', has body"):
        list(read_texts([tmp_path / "bad.jsonl"]))
    with pytest.raises(ValueError, match="in this folder"):
        text_files([_empty(tmp_path)])


def _empty(folder: Path) -> Path:
    (folder / "empty").mkdir()
    return folder / "empty"
