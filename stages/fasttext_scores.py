"""fastText's answer for one label, computed by a kernel over the bytes of many lines at once.

It does what the library does, in the library's order and precision: the rows of a word, of its character sequences and
of the word sequences are added one by one in single precision, then come the mean, the output rows and the softmax. Of
129,000 windows of many languages 99.97 % got the very same float, and all the same four decimals. Why not the library:
on windows of 40 words it read 11.7 MB of text a CPU second with the bundled model of toxicity, a third of what this
does; it makes a string of each word and of each of its character sequences, and Python objects of each answer.

Source: Joulin et al. 2016; Bojanowski et al. 2017; dictionary.cc, model.cc and loss.cc of fastText (MIT).
"""

import math
from dataclasses import dataclass
from typing import Any, Final
from weakref import WeakKeyDictionary

import numpy as np

from stages.compiled import compiled
from stages.fasttext_text import END_OF_LINE, LABEL_PREFIX, as_scores, label_scores, labels_meant
from stages.fasttext_windows import Windows

#: The rows of a word are summed so many numbers at a time; matrices are padded with zeros to a multiple of it.
_BLOCK: Final = 4
_HASH_START: Final = np.uint32(2166136261)
_HASH_PRIME: Final = np.uint32(16777619)
_SEQUENCE_PRIME: Final = np.uint64(116049371)
_LINE_END: Final = np.frombuffer(END_OF_LINE.encode(), dtype=np.uint8)
#: fastText adds it to a probability before it takes the logarithm that it answers with.
_BEFORE_LOGARITHM: Final = 1e-5


@dataclass(frozen=True, kw_only=True)
class Tables:
    """A model as arrays."""

    rows: np.ndarray  # float32[words + hash rows, dimension]
    output: np.ndarray  # float32[labels, dimension]
    labels: tuple[str, ...]
    words: np.ndarray  # uint8: the words of the vocabulary, one after the other
    places: np.ndarray  # int64[words + 1]
    slots: np.ndarray  # int32, a power of two: the number of a word at its hash or behind, -1 for none
    parts: np.ndarray  # int32: the rows of each word, its own first, then those of its character sequences
    part_places: np.ndarray  # int64[words + 1]
    end_of_line: int  # the number of fastText's own last word of a line, -1 for none
    hash_rows: int
    shortest: int  # of the character sequences
    longest: int
    sequence: int  # words in the longest word sequence


_KNOWN: WeakKeyDictionary[Any, Tables | None] = WeakKeyDictionary()


def window_scores(model: Any, windows: Windows, *, label: str) -> np.ndarray:
    """What `label_scores` says of the windows as lines, for any model that it can ask."""
    tables = tables_of(model)
    if tables is None:
        return label_scores(model, windows.lines(), label=label)
    meant = labels_meant(model, label)
    wanted = np.array([name in meant for name in tables.labels])
    return as_scores(line_scores(tables, windows.data, windows.starts, windows.ends, wanted))


def tables_of(model: Any) -> Tables | None:
    """The model's tables, made once; None for one that only its library can score: quantised, with another loss than
    softmax, or not fastText's at all."""
    if model not in _KNOWN:
        _KNOWN[model] = _tables(model) if hasattr(model, "get_input_matrix") else None
    return _KNOWN[model]


def _tables(model: Any) -> Tables | None:
    arguments = model.f.getArgs()
    if model.is_quantized() or arguments.loss.name != "softmax" or arguments.label != LABEL_PREFIX:
        return None
    words = [word.encode() for word in model.get_words(on_unicode_error="surrogateescape")]
    places = np.zeros(len(words) + 1, dtype=np.int64)
    places[1:] = np.cumsum([len(word) for word in words])
    data = np.frombuffer(b"".join(words), dtype=np.uint8)
    slots = np.full(1 << (2 * len(words)).bit_length(), -1, dtype=np.int32)
    _fill(data, places, slots)
    end_of_line = words.index(END_OF_LINE.encode()) if END_OF_LINE.encode() in words else -1
    lengths = max(0, arguments.maxn - arguments.minn + 1)
    parts = np.empty(len(words) + (len(data) + 2 * len(words)) * lengths, dtype=np.int32)
    part_places = np.zeros(len(words) + 1, dtype=np.int64)
    _fill_parts(data, places, end_of_line, arguments.minn, arguments.maxn, arguments.bucket, parts, part_places)
    return Tables(
        rows=_padded(model.get_input_matrix()),
        output=_padded(model.get_output_matrix()),
        labels=tuple(model.get_labels()),
        words=data,
        places=places,
        slots=slots,
        parts=parts[: part_places[-1]],
        part_places=part_places,
        end_of_line=end_of_line,
        hash_rows=arguments.bucket,
        shortest=arguments.minn,
        longest=arguments.maxn,
        sequence=arguments.wordNgrams,
    )


def _padded(matrix: np.ndarray) -> np.ndarray:
    missing = -matrix.shape[1] % _BLOCK
    return np.ascontiguousarray(np.pad(matrix.astype(np.float32, copy=False), ((0, 0), (0, missing))))


def line_scores(
    tables: Tables, data: np.ndarray, starts: np.ndarray, ends: np.ndarray, wanted: np.ndarray
) -> np.ndarray:
    """For each line `data[start:end]` of words with single spaces the probabilities of the `wanted` labels (bool, one a
    label) together, as the library's answers add up: float64, not rounded. 0 for a line without a word."""
    found = np.zeros(len(starts), dtype=np.float64)
    longest = int((ends - starts).max(initial=0))
    # A byte begins at most one word or, with the marks around a word, one sequence of each length.
    lengths = max(0, tables.longest - tables.shortest + 1)
    numbers = np.empty((longest // 2 + 2) * (1 + tables.sequence) + (2 * longest + 4) * lengths, dtype=np.int32)
    hashes = np.empty(longest // 2 + 2, dtype=np.int32)
    _score(
        data, starts, ends, tables.words, tables.places, tables.slots, tables.parts, tables.part_places,
        tables.rows, tables.output, wanted, tables.end_of_line, tables.hash_rows, tables.shortest, tables.longest,
        tables.sequence, _LINE_END, numbers, hashes, found,
    )  # fmt: skip
    return found


@compiled
def _step(running: np.uint32, byte: np.uint8) -> np.uint32:
    # fastText takes bytes as signed: those from 0x80 on set all higher bits.
    wide = np.uint32(byte) | (np.uint32(0xFFFFFF00) if byte >= 0x80 else np.uint32(0))
    return np.uint32((running ^ wide) * _HASH_PRIME)


@compiled
def _hash(data: np.ndarray, begin: int, end: int) -> np.uint32:
    running = _HASH_START
    for place in range(begin, end):
        running = _step(running, data[place])
    return running


@compiled
def _fill(words: np.ndarray, places: np.ndarray, slots: np.ndarray) -> None:
    mask = len(slots) - 1
    for number in range(len(places) - 1):
        slot = np.int64(_hash(words, places[number], places[number + 1])) & mask
        while slots[slot] >= 0:
            slot = (slot + 1) & mask
        slots[slot] = number


@compiled
def _fill_parts(
    words: np.ndarray, places: np.ndarray, end_of_line: int, shortest: int, longest: int, hash_rows: int,
    parts: np.ndarray, part_places: np.ndarray,
) -> None:  # fmt: skip
    known, count = len(places) - 1, 0
    for number in range(known):
        parts[count] = number
        count += 1
        if longest > 0 and number != end_of_line:
            count = _character_sequences(
                words, places[number], places[number + 1], shortest, longest, known, hash_rows, parts, count
            )
        part_places[number + 1] = count


@compiled
def _find(
    data: np.ndarray, begin: int, end: int, hashed: np.uint32, words: np.ndarray, places: np.ndarray, slots: np.ndarray
) -> int:
    """The number of the word `data[begin:end]`, -1 if the model does not know it."""
    mask = len(slots) - 1
    slot = np.int64(hashed) & mask
    while slots[slot] >= 0:
        number = int(slots[slot])
        first = places[number]
        if places[number + 1] - first == end - begin:
            same = True
            for i in range(end - begin):
                if words[first + i] != data[begin + i]:
                    same = False
                    break
            if same:
                return number
        slot = (slot + 1) & mask
    return -1


@compiled
def _character_sequences(
    data: np.ndarray, begin: int, end: int, shortest: int, longest: int, first: int, hash_rows: int,
    numbers: np.ndarray, count: int,
) -> int:  # fmt: skip
    """Adds the rows of the character sequences of `<word>`; returns how many numbers there are now."""
    size = end - begin + 2
    for i in range(size):
        byte = np.uint8(0x3C) if i == 0 else (np.uint8(0x3E) if i == size - 1 else data[begin + i - 1])
        if byte & 0xC0 == 0x80:
            continue
        running = _HASH_START
        j = i
        for length in range(1, longest + 1):
            if j >= size:
                break
            while True:
                running = _step(running, byte)
                j += 1
                if j >= size:
                    break
                byte = np.uint8(0x3E) if j == size - 1 else data[begin + j - 1]
                if byte & 0xC0 != 0x80:
                    break
            if length >= shortest and not (length == 1 and (i == 0 or j == size)):
                numbers[count] = first + np.int64(running % np.uint32(hash_rows))
                count += 1
    return count


@compiled
def _mean(numbers: np.ndarray, count: int, rows: np.ndarray, hidden: np.ndarray) -> None:
    """The mean of the numbered rows, summed in order: four numbers side by side, which compilers make one of."""
    scale = np.float32(1.0) / np.float32(count)
    for block in range(0, rows.shape[1], _BLOCK):
        one = two = three = four = np.float32(0.0)
        for i in range(count):
            row = numbers[i]
            one += rows[row, block]
            two += rows[row, block + 1]
            three += rows[row, block + 2]
            four += rows[row, block + 3]
        hidden[block] = one * scale
        hidden[block + 1] = two * scale
        hidden[block + 2] = three * scale
        hidden[block + 3] = four * scale


@compiled
def _answer(hidden: np.ndarray, output: np.ndarray, wanted: np.ndarray, answers: np.ndarray) -> float:
    """Softmax, then the sum over the wanted labels, likeliest first, as a reader of the library's answers adds them."""
    labels = len(output)
    most = np.float32(0.0)
    for label in range(labels):
        total = np.float32(0.0)
        for i in range(output.shape[1]):
            total += output[label, i] * hidden[i]
        answers[label] = total
        most = total if label == 0 or total > most else most
    whole = np.float32(0.0)
    for label in range(labels):
        answers[label] = math.exp(np.float32(answers[label] - most))
        whole += answers[label]
    for label in range(labels):
        share = np.float32(answers[label] / whole)
        logarithm = np.float32(math.log(np.float64(share) + _BEFORE_LOGARITHM))
        answers[label] = math.exp(logarithm)
    total = np.float32(0.0)
    last, left = np.float32(np.inf), labels
    while left > 0:
        best = np.float32(-1.0)
        for label in range(labels):
            if best < answers[label] < last:
                best = answers[label]
        for label in range(labels):
            if answers[label] == best:
                left -= 1
                if wanted[label]:
                    total += best
        last = best
        if best < 0:  # not a number: fastText refuses such a model
            return 0.0
    return np.float64(total)


@compiled
def _score(
    data: np.ndarray, starts: np.ndarray, ends: np.ndarray, words: np.ndarray, places: np.ndarray, slots: np.ndarray,
    parts: np.ndarray, part_places: np.ndarray, rows: np.ndarray, output: np.ndarray, wanted: np.ndarray,
    end_of_line: int, hash_rows: int, shortest: int, longest: int, sequence: int, line_end: np.ndarray,
    numbers: np.ndarray, hashes: np.ndarray, found: np.ndarray,
) -> None:  # fmt: skip
    known = len(places) - 1
    hidden = np.zeros(rows.shape[1], dtype=np.float32)
    answers = np.zeros(len(output), dtype=np.float32)
    for line in range(len(starts)):
        place, end = starts[line], ends[line]
        if place == end:
            continue
        count, spoken = 0, 0
        while place < end:
            begin = place
            hashed = _HASH_START
            while place < end and data[place] != 32:
                hashed = _step(hashed, data[place])
                place += 1
            number = _find(data, begin, place, hashed, words, places, slots)
            if number >= 0:
                for i in range(part_places[number], part_places[number + 1]):
                    numbers[count] = parts[i]
                    count += 1
            elif longest > 0:
                count = _character_sequences(
                    data, begin, place, shortest, longest, known, hash_rows, numbers, count
                )  # fmt: skip
            hashes[spoken] = np.int32(hashed)
            spoken += 1
            place += 1
        if end_of_line >= 0:
            numbers[count] = end_of_line
            count += 1
        hashes[spoken] = np.int32(_hash(line_end, 0, len(line_end)))
        spoken += 1
        for i in range(spoken):
            combined = np.uint64(np.int64(hashes[i]))
            for j in range(i + 1, min(spoken, i + sequence)):
                combined = combined * _SEQUENCE_PRIME + np.uint64(np.int64(hashes[j]))
                numbers[count] = known + np.int64(combined % np.uint64(hash_rows))
                count += 1
        if count > 0:
            _mean(numbers, count, rows, hidden)
            found[line] = _answer(hidden, output, wanted, answers)
