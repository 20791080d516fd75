"""How well a vocabulary fits: bytes per token, by domain or language."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from tokenizer.bpe import Tokenizer, encode

#: Texts encoded at once; bounds memory, has no effect on the result.
BATCH = 256


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
