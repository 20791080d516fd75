"""How well a vocabulary fits: bytes per token and tokens per word by domain or language, what of it is used, what it
does to numbers and blanks, and how fast it is.

    compression(domains, tokenizer)     bytes per token of a lossless tokenizer
    measure(domains, subject)           everything, of anything that gives ids
"""

import statistics
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from tokenizer.bpe import Tokenizer, encode
from tokenizer.subjects import Subject

#: Texts encoded at once; bounds memory, has no effect on the result.
BATCH = 256
#: A token that occurs less often in the measured texts is rare: a model sees it too seldom to learn what it means.
RARE_BELOW = 10
#: Entries that are shown as the longest.
LONGEST_SHOWN = 12
#: What shows how numbers and blanks are cut: years, long and decimal numbers, hexadecimal; indentation as in code.
NUMBERS = ("7", "42", "2026", "12345", "1234567890", "3.14159", "1,000,000", "0xff", "x2y3")
BLANKS = ("    ", "        ", " " * 16, "\t\t", "\n\n", "\n    ", "\n\n\n\n", " \n", "a    b")
#: Runs by which speed is told: the median, and the slowest and fastest beside it. Text for one run, at most.
SPEED_REPEATS = 3
SPEED_BYTES = 2 << 20


@dataclass(frozen=True, kw_only=True)
class Compression:
    """What one domain's texts become."""

    documents: int
    #: UTF-8 bytes of the texts.
    bytes: int
    tokens: int
    #: bytes / tokens, rounded to 4 decimals; 0 for a domain without tokens. Higher is shorter sequences.
    bytes_per_token: float
    #: Share of the vocabulary that occurs at least once, rounded to 4 decimals.
    vocabulary_used: float


def compression(domains: Mapping[str, Iterable[str]], tokenizer: Tokenizer) -> dict[str, Compression]:
    """One row for each domain, in the mapping's order. Memory is bounded by BATCH texts."""
    return {name: _compression(texts, tokenizer) for name, texts in domains.items()}


def _compression(texts: Iterable[str], tokenizer: Tokenizer) -> Compression:
    documents = size = tokens = 0
    used = np.zeros(tokenizer.vocab_size, dtype=bool)
    batch: list[str] = []

    def count() -> None:
        nonlocal documents, size, tokens
        encoded, n_tokens = encode(pa.array(batch, pa.large_string()), tokenizer)
        documents += len(batch)
        size += sum(len(text.encode()) for text in batch)
        tokens += int(n_tokens.to_numpy().sum())
        used[np.frombuffer(encoded.buffers()[2] or b"", dtype=tokenizer.dtype)] = True
        batch.clear()

    for text in texts:
        batch.append(text)
        if len(batch) == BATCH:
            count()
    if batch:
        count()
    return Compression(
        documents=documents,
        bytes=size,
        tokens=tokens,
        bytes_per_token=round(size / tokens, 4) if tokens else 0.0,
        vocabulary_used=round(float(used.mean()), 4),
    )


@dataclass(frozen=True, kw_only=True)
class Usage:
    """How many entries of a vocabulary occur how often in some texts. Special tokens never occur in text."""

    entries: int
    #: Entries that occur nowhere, and such as occur less than RARE_BELOW times (and at least once).
    unused: int
    rare: int
    #: (n, entries that occur n times or more and less than 10 n): n is 1, 10, 100, ... up to the most frequent entry.
    decades: tuple[tuple[int, int], ...]


def usage(counts: np.ndarray) -> Usage:
    """From int64[vocab_size]: how often each entry occurs."""
    most, decades, least = int(counts.max(initial=0)), [], 1
    while least <= most:
        decades.append((least, int(((counts >= least) & (counts < 10 * least)).sum())))
        least *= 10
    return Usage(
        entries=len(counts),
        unused=int((counts == 0).sum()),
        rare=int(((counts > 0) & (counts < RARE_BELOW)).sum()),
        decades=tuple(decades),
    )


def longest(pieces: Iterable[str]) -> tuple[str, ...]:
    """The LONGEST_SHOWN longest of a vocabulary's entries, by characters."""
    return tuple(sorted(pieces, key=lambda piece: (-len(piece), piece))[:LONGEST_SHOWN])


@dataclass(frozen=True, kw_only=True)
class Domain:
    """What one domain's texts become. Ratios are rounded to 4 decimals; 0 where there is nothing to divide by."""

    documents: int
    #: UTF-8 bytes, characters, and words as blanks part them.
    bytes: int
    characters: int
    words: int
    tokens: int
    bytes_per_token: float
    #: Tokens per word. Says little where words are not parted by blanks (Chinese, Thai).
    fertility: float
    tokens_per_character: float


@dataclass(frozen=True, kw_only=True)
class Measured:
    """All about one tokenizer on these texts. Everything but `megabytes_per_second` is a function of the two."""

    name: str
    sha256: str
    vocab_size: int
    lossless: bool
    domains: dict[str, Domain]
    total: Domain
    #: Entries that occur nowhere, and such as occur less than RARE_BELOW times (and at least once).
    unused: int
    rare: int
    #: The longest entries by characters.
    longest: tuple[str, ...]
    #: Entries of blanks only, and of digits only.
    blank_entries: int
    digit_entries: int
    #: How NUMBERS and BLANKS are cut: text -> pieces.
    numbers: dict[str, tuple[str, ...]]
    blanks: dict[str, tuple[str, ...]]
    #: UTF-8 megabytes in a second of this process's CPU time, all threads together: (slowest, median, fastest).
    megabytes_per_second: tuple[float, float, float]

    def as_json(self) -> dict[str, Any]:
        plain = dict(vars(self))
        return plain | {"domains": {name: vars(domain) for name, domain in self.domains.items()},
                        "total": vars(self.total)}  # fmt: skip


def measure(domains: Mapping[str, Iterable[str]], subject: Subject) -> Measured:
    """One measurement over all domains, in the mapping's order. Holds BATCH texts and the sample for speed."""
    counts = np.zeros(subject.vocab_size, dtype=np.int64)
    sums: dict[str, Counter[str]] = {}
    sample: list[str] = []
    sampled = 0
    for name, texts in domains.items():
        sums[name] = Counter()
        for batch in _batches(texts):
            for text, ids in zip(batch, subject.encode(batch), strict=True):
                counts += np.bincount(ids, minlength=len(counts))
                size = len(text.encode())
                sums[name].update(
                    documents=1, bytes=size, characters=len(text), words=len(text.split()), tokens=len(ids)
                )
                if sampled < SPEED_BYTES:
                    sample.append(text)
                    sampled += size
    used = usage(counts)
    pieces = [subject.piece(token) for token in range(subject.vocab_size)]
    return Measured(
        name=subject.name,
        sha256=subject.sha256,
        vocab_size=subject.vocab_size,
        lossless=subject.lossless,
        domains={name: _domain(found) for name, found in sums.items()},
        total=_domain(sum(sums.values(), Counter())),
        unused=used.unused,
        rare=used.rare,
        longest=longest(pieces),
        blank_entries=sum(piece.isspace() for piece in pieces),
        digit_entries=sum(piece.strip().isdecimal() for piece in pieces),
        numbers=_cut(subject, NUMBERS),
        blanks=_cut(subject, BLANKS),
        megabytes_per_second=_speed(subject, sample, sampled),
    )


def _batches(texts: Iterable[str]) -> Iterable[list[str]]:
    batch: list[str] = []
    for text in texts:
        batch.append(text)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _domain(found: Counter[str]) -> Domain:
    def ratio(above: str, below: str) -> float:
        return round(found[above] / found[below], 4) if found[below] else 0.0

    return Domain(
        documents=found["documents"],
        bytes=found["bytes"],
        characters=found["characters"],
        words=found["words"],
        tokens=found["tokens"],
        bytes_per_token=ratio("bytes", "tokens"),
        fertility=ratio("tokens", "words"),
        tokens_per_character=ratio("tokens", "characters"),
    )


def _cut(subject: Subject, texts: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    encoded = subject.encode(texts)
    return {text: tuple(subject.piece(int(token)) for token in ids) for text, ids in zip(texts, encoded, strict=True)}


def _speed(subject: Subject, texts: list[str], size: int) -> tuple[float, float, float]:
    if not size:
        return (0.0, 0.0, 0.0)
    rates = []
    for _ in range(SPEED_REPEATS):
        started = time.process_time()
        for batch in _batches(texts):
            subject.encode(batch)
        rates.append(round(size / 1e6 / max(time.process_time() - started, 1e-9), 2))
    return (min(rates), statistics.median(rates), max(rates))
