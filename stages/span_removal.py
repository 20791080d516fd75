"""Cutting stretches out of texts, so that what is left reads as a text.

Stretches that touch, or that only white space parts, are one. A cut takes the white space around it along, but for the
indentation of a line that follows. Between what then meets it leaves one line break (two where there was a blank line)
after whole lines, one blank line after paragraphs, and spans.GAP after sentences and substrings.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa

from stages.compiled import compiled
from stages.spans import GAP, LINES, PARAGRAPHS, is_space

_BREAKS: Final = len(GAP)


@dataclass(frozen=True, kw_only=True)
class Cut:
    """Texts after cutting, and what it took: int64 per text."""

    #: large_string[n]
    texts: pa.Array
    stretches: np.ndarray
    removed_bytes: np.ndarray


@compiled
def _breaks(data: np.ndarray, start: int, end: int) -> int:
    found = 0
    for place in range(start, end):
        found += data[place] == 0x0A
    return found


@compiled
def _cut(
    data: np.ndarray,
    offsets: np.ndarray,
    docs: np.ndarray,
    starts: np.ndarray,
    ends: np.ndarray,
    kind: int,
    written: np.ndarray,
    out_offsets: np.ndarray,
    stretches: np.ndarray,
) -> None:
    done = 0
    at = 0  # the next stretch
    for row in range(len(offsets) - 1):
        begin, stop = offsets[row], offsets[row + 1]
        place = begin  # behind what is copied or cut so far
        while at < len(docs) and docs[at] == row:
            first, last = starts[at], ends[at]
            at += 1
            following = last
            while True:
                while following < stop and is_space(data[following]):
                    following += 1
                if at < len(docs) and docs[at] == row and starts[at] <= following:
                    last = max(last, ends[at])
                    following = max(following, last)
                    at += 1
                else:
                    break
            inner = first
            while first > place and is_space(data[first - 1]):
                first -= 1
            behind = following
            if following < stop:  # a line that follows keeps its indentation
                for space in range(last, following):
                    if data[space] == 0x0A:
                        behind = space + 1
            for byte in range(place, first):
                written[done] = data[byte]
                done += 1
            if done > out_offsets[row] and following < stop:
                breaks = _BREAKS
                if kind == PARAGRAPHS:
                    breaks = 2
                elif kind == LINES:
                    breaks = 2 if max(_breaks(data, first, inner), _breaks(data, last, behind)) > 1 else 1
                for _ in range(breaks):
                    written[done] = 0x0A
                    done += 1
            stretches[row] += 1
            place = behind if following < stop else stop
        for byte in range(place, stop):
            written[done] = data[byte]
            done += 1
        out_offsets[row + 1] = done


def cut_out(
    data: np.ndarray, offsets: np.ndarray, *, docs: np.ndarray, starts: np.ndarray, ends: np.ndarray, kind: int
) -> Cut:
    """The texts (UTF-8 bytes and int64 offsets) without the stretches [starts, ends), which are ascending by document
    and start, may overlap, and hold ink at both ends. Bytes before = bytes after + removed bytes, for every text."""
    count = len(offsets) - 1
    written = np.empty(int(offsets[-1] - offsets[0]), dtype=np.uint8)
    out_offsets = np.zeros(count + 1, dtype=np.int64)
    stretches = np.zeros(count, dtype=np.int64)
    _cut(data, offsets, docs, starts, ends, kind, written, out_offsets, stretches)
    texts = pa.LargeStringArray.from_buffers(
        count, pa.py_buffer(out_offsets), pa.py_buffer(written[: out_offsets[-1]].tobytes())
    )
    return Cut(texts=texts, stretches=stretches, removed_bytes=np.diff(offsets) - np.diff(out_offsets))
