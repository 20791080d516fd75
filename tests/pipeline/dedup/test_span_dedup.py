"""Deduplication below the document: what is cut out, what stays, and what is written down about it."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
from dedup_views import Corpus, contents, words
from span_runs import Outcome, again, rewrite

from stages.span_dedup import (
    LineDedupSettings,
    ParagraphDedupSettings,
    SentenceDedupSettings,
    SpanSettings,
    SubstringDedupSettings,
)

PEER = Path(__file__).parents[3] / ".." / "shared" / "data" / "peer_cases" / "datatrove_sentence_dedup.json"
#: One of each, without a least length of units, so that short texts show what happens.
EACH: dict[str, SpanSettings] = {
    "line": LineDedupSettings(min_unit_bytes=1, min_left_bytes=1),
    "paragraph": ParagraphDedupSettings(min_unit_bytes=1, min_left_bytes=1),
    "sentence": SentenceDedupSettings(min_unit_bytes=1, min_left_bytes=1),
    "substring": SubstringDedupSettings(length_bytes=48, window_bytes=16, min_left_bytes=1),
}
#: Letters of a word in the texts of planted repeats.
LONGEST_WORD = 6
every_kind = pytest.mark.parametrize("kind", EACH)


def sentence(number: int) -> str:
    return " ".join(["So", *words(8, seed=number)]) + "."


def corpus(seed: int, *, documents: int = 40, pool: int = 60) -> Corpus:
    """Documents of paragraphs of lines of sentences, drawn from a pool, so that all kinds of units come again."""
    drawn = random.Random(seed)
    lines = [" ".join(sentence(drawn.randrange(pool)) for _ in range(drawn.randrange(1, 5))) for _ in range(pool)]
    texts = []
    for _ in range(documents):
        paragraphs = ["\n".join(drawn.choices(lines, k=drawn.randrange(1, 4))) for _ in range(drawn.randrange(1, 6))]
        texts.append(drawn.choice(["\n\n", "\n"]).join(paragraphs))
    return Corpus(texts, scores=[drawn.choice([None, 0.5, 1.0]) for _ in texts])


def booked(found: Outcome, before: Corpus) -> dict[str, Any]:
    """The stage's counts, after the books were checked against the texts."""
    (stage,) = found.counts["stages"].values()
    sizes = {row["id"]: len(row["text"].encode()) for row in before.rows}
    left = {identity: len(text.encode()) for identity, text in found.texts.items()}
    assert sum(sizes.values()) == stage["text_bytes_kept"] + stage["text_bytes_removed"] + stage["text_bytes_dropped"]
    assert sum(left.values()) == stage["text_bytes_kept"]
    assert stage["documents"] == len(sizes) == stage["kept"] + len(found.ledger)
    for identity, columns in found.columns.items():
        stretches, taken, partner = columns.values()
        assert sizes[identity] == left[identity] + taken
        assert (stretches > 0) == (taken > 0) == (partner is not None)
    return stage


BOILERPLATE = "All rights reserved; use of this site is subject to the terms and conditions that you have accepted."
SHARED = Corpus(
    [
        f"The first page has its own words.\n{BOILERPLATE}\nIt ends with them.",
        f"The second page.\n\n  {BOILERPLATE.upper()}  \n\n    indented code\nIt ends otherwise.",
        f"{BOILERPLATE}",
    ],
    scores=[0.9, 0.8, 0.7],
)


def test_a_line_stays_in_the_best_document_and_goes_from_the_others(tmp_path: Path) -> None:
    found = rewrite(SHARED, tmp_path, LineDedupSettings(min_left_bytes=10))
    first, second, third = (row["id"] for row in SHARED.rows)
    assert found.texts == {
        first: SHARED.rows[0]["text"],
        second: "The second page.\n\n    indented code\nIt ends otherwise.",
    }
    assert found.columns[first] == {
        "line_dedup_stretches": 0, "line_dedup_removed_bytes": 0, "line_dedup_partner": None,
    }  # fmt: skip
    assert found.columns[second]["line_dedup_partner"] == first
    assert found.removed == {second: [(BOILERPLATE.upper(), first)], third: [(BOILERPLATE, first)]}
    (row,) = found.ledger
    assert (row["id"], row["reason"], row["measured"], row["threshold"], row["partner"], row["detail"]) == (
        third, "little_left", 0.0, 10.0, first, f"{len(BOILERPLATE)} of {len(BOILERPLATE)} bytes stand elsewhere",
    )  # fmt: skip
    booked(found, SHARED)


def test_what_counts_as_the_same_line_is_a_setting(tmp_path: Path) -> None:
    texts = ["Written in 2019 by the staff", "Written in 2024 by the staff", "written in 2019, by the staff!"]
    lines = Corpus([f"{text}\nnumber {n}: its own words" for n, text in enumerate(texts)], scores=[3.0, 2.0, 1.0])

    def changed(normalisation: Any) -> list[int]:
        settings = LineDedupSettings(min_unit_bytes=28, min_left_bytes=1, normalisation=normalisation)
        found = rewrite(lines, tmp_path / normalisation, settings).removed
        return [n for n, row in enumerate(lines.rows) if row["id"] in found]

    assert changed("verbatim") == []
    assert changed("normal_form") == [2]
    assert changed("ccnet") == [1, 2]


def test_boilerplate_above_a_number_of_documents_goes_from_all_of_them(tmp_path: Path) -> None:
    texts = [f"{BOILERPLATE}\nPage {n} of the site" for n in range(5)]
    pair = f"{SHARED.rows[1]['text']} And so on to the end."
    found = rewrite(
        Corpus([*texts, f"{texts[0]}\n{pair}", f"Before it\n{pair}\n{BOILERPLATE}\n{BOILERPLATE}"]), tmp_path,
        LineDedupSettings(drop_all_above_documents=4, min_left_bytes=1),
    )  # fmt: skip
    assert not any(BOILERPLATE in text for text in found.texts.values())
    assert sum("And so on to the end." in text for text in found.texts.values()) == 2, "too short a line to compare"
    kept = rewrite(Corpus(texts), tmp_path / "5", LineDedupSettings(drop_all_above_documents=5, min_left_bytes=1))
    assert sum(BOILERPLATE in text for text in kept.texts.values()) == 1


def test_headings_and_list_entries_are_no_sentences(tmp_path: Path) -> None:
    prose = f"{sentence(1)} {sentence(2)} {sentence(3)}"
    listed = "Contents\nTask 1: Set up the server\nTask 2: Join the group\nTask 3: Write the program"
    both = Corpus([f"{listed}\n{prose}\nFirst", f"{prose}\n{listed}\nSecond"], scores=[1.0, 0.0])
    found = rewrite(both, tmp_path, EACH["sentence"])
    assert [found.texts[row["id"]] for row in both.rows] == [both.rows[0]["text"], f"{listed}\nSecond"]


@every_kind
def test_no_word_is_cut_or_glued_to_another(tmp_path: Path, kind: str) -> None:
    found = rewrite(corpus(3), tmp_path, EACH[kind])
    whole = {word.strip(".") for row in corpus(3).rows for word in row["text"].split()}
    assert found.removed
    assert {word.strip(".") for text in found.texts.values() for word in text.split()} - {""} <= whole


@every_kind
def test_books_balance_and_every_sentence_is_left_once(tmp_path: Path, kind: str) -> None:
    given = corpus(1)
    found = rewrite(given, tmp_path, EACH[kind])
    stage = booked(found, given)
    assert stage["text_bytes_removed"] > 0
    if kind != "substring":  # which leaves the halves of a sentence where they differ
        before = {part for row in given.rows for part in row["text"].replace("\n", " ").split(". ")}
        after = {part for text in found.texts.values() for part in text.replace("\n", " ").split(". ")}
        assert {part.rstrip(".").strip() for part in before} == {part.rstrip(".").strip() for part in after} - {""}


@every_kind
def test_order_splits_and_partitions_change_nothing(tmp_path: Path, kind: str) -> None:
    given = corpus(2)
    reference = rewrite(given, tmp_path / "0", EACH[kind], splits=1)
    for number, (splits, partition_bytes) in enumerate([(3, 1 << 28), (5, 500)], start=1):
        found = rewrite(
            given.shuffled(number), tmp_path / str(number), EACH[kind], splits=splits, partition_bytes=partition_bytes
        )
        assert found.texts == reference.texts
        assert found.columns == reference.columns
        assert {name: sorted(rows) for name, rows in found.removed.items()} == {
            name: sorted(rows) for name, rows in reference.removed.items()
        }


@every_kind
@pytest.mark.parametrize("seed", [4, 5])
def test_done_twice_is_done_once(tmp_path: Path, kind: str, seed: int) -> None:
    found = rewrite(corpus(seed, documents=80, pool=30), tmp_path, EACH[kind])
    assert found.removed
    assert again(found, EACH[kind]) == (0, 0)


@every_kind
def test_without_repetition_every_byte_stays(tmp_path: Path, kind: str) -> None:
    texts = [f"{sentence(n)} {sentence(1000 + n)}\n\n\n\n {sentence(2000 + n)}\t\n" for n in range(30)]
    found = rewrite(Corpus(["", " \n ", *texts]), tmp_path, EACH[kind])
    assert sorted(found.texts.values()) == sorted(["", " \n ", *texts])
    assert found.removed == {}


@every_kind
def test_of_equal_documents_one_is_kept_whole(tmp_path: Path, kind: str) -> None:
    text = "\n".join(f"{sentence(3 * n)} {sentence(3 * n + 1)} {sentence(3 * n + 2)}" for n in range(4))
    found = rewrite(Corpus([text] * 20), tmp_path, EACH[kind], splits=3)
    assert list(found.texts.values()) == [text]
    assert {row["partner"] for row in found.ledger} == set(found.texts)
    assert [row["measured"] for row in found.ledger] == [0.0] * 19


def with_planted_repeats(seed: int) -> list[str]:
    """Texts of short words with stretches of earlier ones and of themselves copied in anywhere, also within a word; one
    in ten goes round in a circle."""
    drawn = random.Random(seed)
    texts: list[str] = []
    for number in range(40):
        text = " ".join("".join(drawn.choices("ab\u00e9", k=drawn.randrange(1, LONGEST_WORD + 1))) for _ in range(60))
        if number % 10 == 9:
            text = text[: drawn.randrange(5, 70)] * 8
        for _ in range(drawn.randrange(4)):
            source = drawn.choice([*texts, text])
            start, at = drawn.randrange(len(source)), drawn.randrange(len(text))
            text = text[:at] + source[start : start + drawn.randrange(30, 150)] + text[at:]
        texts.append(text)
    return texts


@pytest.mark.parametrize(("seed", "length", "window"), [(1, 48, 16), (2, 32, 16), (3, 64, 40), (4, 32, 4)])
def test_every_repeat_of_length_and_window_is_found(tmp_path: Path, seed: int, length: int, window: int) -> None:
    """By brute force: whatever length + window - 1 bytes stood before, in a better document or further up in the same,
    lose a stretch of `length`, less what the ends of it had of a word."""
    texts = with_planted_repeats(seed)
    given = Corpus(texts, scores=[-float(place) for place in range(len(texts))])
    settings = SubstringDedupSettings(length_bytes=length, window_bytes=window, min_left_bytes=1)
    found = rewrite(given, tmp_path, settings, splits=3)
    order = {row["id"]: place for place, row in enumerate(given.rows)}
    before = {row["id"]: row["text"].encode() for row in given.rows}
    guaranteed = length + window - 1
    seen: set[bytes] = set()
    repeats = 0
    for identity, text in before.items():
        gone = bytearray(len(text))
        for start, end in found.places.get(identity, []):
            gone[start:end] = b"\x01" * (end - start)
        for start in range(len(text) - guaranteed + 1):
            piece = text[start : start + guaranteed]
            if piece in seen:
                repeats += 1
                # A word's letters take two bytes at most, and one of them may stay at either end.
                assert sum(gone[start : start + guaranteed]) >= length - 4 * LONGEST_WORD
            seen.add(piece)
        removed = zip(found.removed.get(identity, []), found.places.get(identity, []), strict=True)
        for (piece, partner), (start, _) in removed:
            assert order[partner] <= order[identity]
            at = before[partner].find(piece.encode())
            assert at >= 0 if partner != identity else 0 <= at < start, "it stands elsewhere, further up"
    assert repeats > 500
    assert set(found.removed) != set(before), "and what does not come again stays"


@every_kind
def test_chinese_and_line_breaks_of_windows(tmp_path: Path, kind: str) -> None:
    shared = "今天天气很好我们一起去公园散步吧。明天下雨的话就在家里看书喝茶。后天要去北京参加一个重要的会议。"
    texts = [f"第一篇文章说的是别的事情。\r\n{shared}\r\n结束", f"\r\n\r\n{shared}\r\n\r\n完全不同的另外一篇文章。"]
    if kind == "paragraph":
        texts = [text.replace("\r\n", "\r\n\r\n") for text in texts]
    found = rewrite(Corpus(texts, scores=[1.0, 0.0]), tmp_path, EACH[kind])
    assert sorted(found.texts.values()) == sorted([texts[0], "完全不同的另外一篇文章。"])


def test_a_letter_with_an_accent_is_the_same_however_it_is_typed(tmp_path: Path) -> None:
    typed = "Le cafe\u0301 est ferme\u0301 jusqu'a\u0300 la fin de la semaine prochaine."
    composed = "Le caf\u00e9 est ferm\u00e9 jusqu'\u00e0 la fin de la semaine prochaine."
    both = Corpus([f"Un\n{composed}", f"Deux\n{typed}\nTrois"], scores=[1.0, 0.0])
    found = rewrite(both, tmp_path, LineDedupSettings(min_left_bytes=1, min_unit_bytes=30))
    assert found.texts[both.rows[1]["id"]] == "Deux\nTrois"


@every_kind
def test_a_line_that_stands_100_000_times_in_one_document(tmp_path: Path, kind: str) -> None:
    line = "The same line of text, word for word, again and again and again in one document."
    text = "\n\n".join([line] * 100_000)
    found = rewrite(Corpus([text, "Another document."]), tmp_path, EACH[kind])
    left = next(text for text in found.texts.values() if "same" in text)
    assert left.startswith(line)
    assert len(left) < 3 * len(line)
    booked(found, Corpus([text, "Another document."]))


@pytest.mark.parametrize("kind", ["line", "substring"])
def test_one_line_of_10_megabytes(tmp_path: Path, kind: str) -> None:
    text = "\u00e4" * 5_000_000
    found = rewrite(Corpus([text, "Another document."]), tmp_path, EACH[kind])
    kept = len(max(found.texts.values(), key=len))
    assert kept == len(text) if kind != "substring" else kept < 200


def test_the_peer_cuts_the_same_sentences(tmp_path: Path) -> None:
    """The peer joins what stands around a cut, here a gap of two empty lines is left: white space apart, the texts are
    the same."""
    if not PEER.exists():
        pytest.skip(f"the data pack is not there ({PEER})")
    given = json.loads(PEER.read_text(encoding="utf-8"))
    cases = {case["name"]: case for case in given["cases"]}

    def cleaned(texts: list[str], name: str) -> list[str]:
        ordered = Corpus(texts, scores=[-float(place) for place in range(len(texts))])
        found = rewrite(ordered, tmp_path / name, SentenceDedupSettings(min_unit_bytes=1, min_left_bytes=1))
        kept = [found.texts.get(row["id"]) for row in ordered.rows]
        return [" ".join(text.split()) for text in kept if text is not None]

    one, two = ([doc["text"] for doc in given[name]] for name in ("docs", "docs_2"))
    assert cleaned(one, "one") == [
        " ".join(text.split()) for text in cases["single worker on docs"]["expected_texts_in_order"]
    ]
    both = cases["two workers: docs / docs_2"]
    expected = [*both["expected_worker0"], *both["expected_worker1"]]
    # With two workers the peer keeps the copy of the lower number within its file: another copy, the same texts.
    assert sorted(cleaned([*one, *two], "both")) == sorted(" ".join(text.split()) for text in expected)


def test_a_run_that_stops_in_the_middle_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    given, settings = corpus(6), EACH["substring"]
    whole = rewrite(given, tmp_path / "whole", settings)
    commits = sorted((tmp_path / "whole").glob("*/*.commit.json"))
    rewrite(given, tmp_path / "cut", settings)
    for commit in commits[::2]:
        victim = tmp_path / "cut" / commit.relative_to(tmp_path / "whole")
        if not victim.parent.name.startswith("base"):
            victim.unlink()
    found = rewrite(given, tmp_path / "cut", settings)
    assert found.texts == whole.texts
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")


def test_only_the_ledger_is_made_again_for_another_least_length(tmp_path: Path) -> None:
    given = corpus(7)
    first = rewrite(given, tmp_path, LineDedupSettings(min_unit_bytes=1, min_left_bytes=1))
    second = rewrite(given, tmp_path, LineDedupSettings(min_unit_bytes=1, min_left_bytes=500))
    assert second.phases[0] == first.phases[0]
    assert second.phases[1] != first.phases[1]
    made = {phase for phase, count in second.engine.executed.items() if count}
    assert made == {second.phases[1]}
    assert len(second.ledger) > len(first.ledger)
