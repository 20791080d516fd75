"""Bits per byte on held-out texts: Σ nats of all tokens / (ln 2 · Σ UTF-8 bytes of the original texts).

Every document is scored apart, behind one end-of-text token, and every token of it exactly once. A document longer
than the context T is scored in windows that advance by T/2, so that each token but the first T has at least T/2 tokens
before it. (Chunks without overlap, or documents in a row, give numbers that differ by more than most curation choices:
the protocol is part of the result.)
"""

import gzip
import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from tokenizer.bpe import Tokenizer, encode
from train.loss import token_cross_entropy
from train.model import Transformer

#: A plain text file has no documents: it is cut behind the first line that ends past this many bytes, about a page.
PIECE_BYTES = 4_000
#: Tokens of one forward pass, padding included. Bounds memory; changes sums in the last bit at most.
BATCH_TOKENS = 16_384
IGNORED = -1


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """One domain's documents, ready to be scored by any model with this tokenizer."""

    #: Ids of each document, without separators.
    tokens: list[np.ndarray]
    #: UTF-8 bytes of each document, int64.
    n_bytes: np.ndarray
    #: Over the texts in order: says whether two results are of the same documents.
    sha256: str


@dataclass(frozen=True, kw_only=True)
class DomainScore:
    """What one model scored on one domain. The lists are parallel: one entry a document, in the given order."""

    bits_per_byte: float
    #: exp(nats per token): not comparable between tokenizers.
    perplexity: float
    nats: float
    bytes: int
    tokens: int
    documents: int
    documents_sha256: str
    document_nats: list[float]
    document_bytes: list[int]


def read_domain(path: Path) -> list[str]:
    """The documents of a held-out file, empty ones left out: JSONL with a string `text` a line, or plain text, which is
    cut into pieces of about PIECE_BYTES at line ends. Either may be gzipped. Raises ValueError with the line number."""
    data = path.read_bytes()
    if path.suffix == ".gz":
        data = gzip.decompress(data)
    if ".jsonl" in path.suffixes:
        return [text for text in _jsonl(path, data) if text]
    pieces, piece, size = [], [], 0
    for line in data.decode("utf-8", "replace").split("\n"):
        piece.append(line)
        size += len(line.encode()) + 1
        if size >= PIECE_BYTES:
            pieces.append("\n".join(piece))
            piece, size = [], 0
    return [text for text in (*pieces, "\n".join(piece)) if text.strip()]


def _jsonl(path: Path, data: bytes) -> Iterator[str]:
    for number, line in enumerate(data.split(b"\n"), start=1):
        if line.strip():
            try:
                text = json.loads(line)["text"]
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(f"{path}, line {number}: not a JSON object with a `text`: {error}") from error
            if not isinstance(text, str):
                raise ValueError(f"{path}, line {number}: `text` is not a string")
            # An escaped lone surrogate has no UTF-8 form.
            yield text.encode("utf-8", "replace").decode()


def prepare(domains: Mapping[str, Sequence[str]], tokenizer: Tokenizer) -> dict[str, HeldOut]:
    """Encode every domain once. Documents without bytes are refused: they would have no bits per byte."""
    held_out = {}
    for name, texts in domains.items():
        if not texts:
            raise ValueError(f"the held-out domain {name!r} has no documents")
        n_bytes = np.array([len(text.encode()) for text in texts], dtype=np.int64)
        if not n_bytes.all():
            raise ValueError(f"document {int(np.argmin(n_bytes))} of the held-out domain {name!r} is empty")
        tokens, _ = encode(pa.array(texts, pa.large_string()), tokenizer)
        ids = [np.frombuffer(row.as_buffer(), tokenizer.dtype).astype(np.int64) for row in tokens]
        digest = hashlib.sha256(json.dumps(list(texts)).encode()).hexdigest()
        held_out[name] = HeldOut(tokens=ids, n_bytes=n_bytes, sha256=digest)
    return held_out


def evaluate(
    model: Transformer, held_out: Mapping[str, HeldOut], *, end_of_text_id: int, context: int | None = None
) -> dict[str, DomainScore]:
    """Score every domain. `context` defaults to the model's longest sequence. The result of a document does not depend
    on the others but for float noise of batching."""
    context = context or model.settings.max_position_embeddings
    return {name: _score(model, domain, end_of_text_id, context) for name, domain in held_out.items()}


def protocol(*, tokenizer: Tokenizer, context: int) -> dict[str, Any]:
    """What has to be equal for two results to be comparable, as JSON values."""
    return {
        "version": 1,
        "unit": "bits per UTF-8 byte of the original text",
        "documents": "apart, each behind one end-of-text token",
        "context_tokens": context,
        "stride_tokens": _stride(context),
        "tokenizer_sha256": tokenizer.sha256,
    }


def _stride(context: int) -> int:
    return max(1, context // 2)


def _windows(tokens: np.ndarray, end_of_text_id: int, context: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Inputs and targets, of at most `context` tokens, that together score every token once."""
    stream = np.concatenate([[end_of_text_id], tokens])
    start = scored = 0
    while scored < len(tokens):
        stop = min(start + context, len(tokens))
        targets = stream[start + 1 : stop + 1].copy()
        targets[: scored - start] = IGNORED
        yield stream[start:stop], targets
        scored = stop
        start += _stride(context)


def _score(model: Transformer, domain: HeldOut, end_of_text_id: int, context: int) -> DomainScore:
    windows = [
        (row, inputs, targets)
        for row, tokens in enumerate(domain.tokens)
        for inputs, targets in _windows(tokens, end_of_text_id, context)
    ]
    windows.sort(key=lambda window: len(window[1]))
    nats = np.zeros(len(domain.tokens), dtype=np.float64)
    start = 0
    while start < len(windows):
        stop = _batch_end(windows, start)
        rows = [row for row, _, _ in windows[start:stop]]
        # Added in the order of the windows, in double precision.
        np.add.at(nats, rows, _window_nats(model, windows[start:stop]))
        start = stop
    tokens = sum(len(ids) for ids in domain.tokens)
    total, size = math.fsum(nats), int(domain.n_bytes.sum())
    return DomainScore(
        bits_per_byte=total / (math.log(2) * size),
        perplexity=math.exp(min(total / tokens, 700.0)),
        nats=total,
        bytes=size,
        tokens=tokens,
        documents=len(domain.tokens),
        documents_sha256=domain.sha256,
        document_nats=nats.tolist(),
        document_bytes=domain.n_bytes.tolist(),
    )


def _batch_end(windows: list[tuple[int, np.ndarray, np.ndarray]], start: int) -> int:
    """Windows come shortest first, so a batch is as wide as its last one."""
    stop = start + 1
    while stop < len(windows) and (stop + 1 - start) * len(windows[stop][1]) <= BATCH_TOKENS:
        stop += 1
    return stop


@torch.no_grad()
def _window_nats(model: Transformer, windows: list[tuple[int, np.ndarray, np.ndarray]]) -> np.ndarray:
    """float64 [windows]. Padding stands on the right, where causal attention does not look."""
    width = len(windows[-1][1])
    ids = np.zeros((len(windows), width), dtype=np.int64)
    targets = np.full((len(windows), width), IGNORED, dtype=np.int64)
    for row, (_, window_inputs, window_targets) in enumerate(windows):
        ids[row, : len(window_inputs)] = window_inputs
        targets[row, : len(window_targets)] = window_targets
    device = model.output_weight.device
    hidden = model.hidden(torch.from_numpy(ids).to(device))
    wanted = torch.from_numpy(targets).flatten().to(device)
    losses = token_cross_entropy(hidden.flatten(0, 1), model.output_weight, wanted)
    summed: np.ndarray = losses.view(len(windows), width).double().sum(dim=1).cpu().numpy()
    return summed
