"""tamis shards inspect and export, on shards that were made from texts one can read."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import pipeline.cli
from tokenizer.bpe import BPESettings, encode, learn, load
from tokenizer.shards import ShardMetadata, write_shard

TEXTS = ["the quick brown fox", "", "漢字 and a 👩‍👩‍👧 family", "the lazy dog jumps"]
TOKENIZER = load(learn(["the quick brown fox jumps over the lazy dog "] * 20, BPESettings(vocab_size=280)))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A folder as a run leaves it."""
    tokens, counts = encode(pa.array(TEXTS, pa.large_string()), TOKENIZER)
    docs = {
        "doc_id": [f"doc{row}" for row in range(len(TEXTS))], "source": ["a.warc"] * len(TEXTS),
        "n_bytes": [len(text.encode()) for text in TEXTS], "n_tokens": counts, "tokens": tokens,
    }  # fmt: skip
    (tmp_path / "shards").mkdir()
    metadata = ShardMetadata(
        tokenizer_sha256=TOKENIZER.sha256, vocab_size=TOKENIZER.vocab_size, end_of_text_id=TOKENIZER.end_of_text_id
    )
    write_shard(tmp_path / "shards" / "train-00000.parquet", pa.table(docs), metadata=metadata)
    (tmp_path / "tokenizer").mkdir()
    (tmp_path / "tokenizer" / "tokenizer.json").write_bytes(TOKENIZER.data)
    return tmp_path


def tamis(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(pipeline.cli.app, ["shards", *map(str, arguments)])
    return result.exit_code, result.output


@pytest.mark.parametrize("place", ["", "shards", "shards/train-00000.parquet"])
def test_inspect_shows_each_document_cut_into_its_tokens(run: Path, place: str) -> None:
    code, output = tamis("inspect", run / place, "--documents", 4, "--json")
    assert code == 0, output
    found = json.loads(output)
    assert (found["documents"], found["ids"], found["split"]) == (4, "uint16", "train")
    assert ["".join(each["pieces"]) for each in found["shown"]] == TEXTS
    assert [len(each["pieces"]) for each in found["shown"]] == [each["n_tokens"] for each in found["shown"]]
    code, output = tamis("inspect", run / place, "--start", 3, "--tokens", 2)
    assert code == 0
    assert "#3 doc3" in output
    assert "the| " in output
    assert output.rstrip().endswith("…")


def test_inspect_without_a_tokenizer_shows_ids_and_refuses_a_strange_one(run: Path) -> None:
    kept = (run / "tokenizer" / "tokenizer.json").rename(run / "away.json")
    code, output = tamis("inspect", run, "--json")
    assert code == 0
    first = json.loads(output)["shown"][0]
    assert first["pieces"] is None
    assert len(first["ids"]) == first["n_tokens"]
    assert tamis("inspect", run, "--tokenizer", kept)[0] == 0
    kept.write_bytes(learn(["another text " * 20], BPESettings(vocab_size=260)))
    code, output = tamis("inspect", run, "--tokenizer", kept)
    assert code == 2
    assert "is not the tokenizer of these shards" in output


def test_export_writes_what_inspect_shows(run: Path, tmp_path: Path) -> None:
    code, output = tamis("export", run, "--to", "nanogpt", "--out", tmp_path / "out", "--json")
    assert code == 0, output
    done = json.loads(output)
    ids = np.fromfile(tmp_path / "out" / "tokens.bin", np.uint16)
    assert len(ids) == done["tokens"]
    end = TOKENIZER.end_of_text
    assert TOKENIZER.inner.decode(ids.tolist(), skip_special_tokens=False) == end + end.join(TEXTS)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("inspect", "{run}/nowhere"), "no token shards"),
        (("inspect", "{run}", "--split", "validation"), "no token shards of the split 'validation'"),
        (("export", "{run}", "--to", "tfrecord", "--out", "{run}/out"), "choose megatron"),
        (("export", "{run}", "--to", "nanogpt", "--out", "{run}"), "is not empty"),
    ],
)
def test_mistakes_end_with_code_2_and_a_message(run: Path, arguments: tuple, message: str) -> None:
    code, output = tamis(*(argument.format(run=run) for argument in arguments))
    assert code == 2
    assert message in " ".join(output.split())


def test_a_flipped_bit_is_told_and_not_exported(run: Path, tmp_path: Path) -> None:
    shard = run / "shards" / "train-00000.parquet"
    data = bytearray(shard.read_bytes())
    column = pq.ParquetFile(shard).metadata.row_group(0).column(4)
    data[column.data_page_offset + column.total_compressed_size - 5] ^= 0x10
    shard.write_bytes(data)
    code, output = tamis("export", run, "--to", "megatron", "--out", tmp_path / "out")
    assert code == 2
    assert "damaged" in output
    assert not (tmp_path / "out").exists()
