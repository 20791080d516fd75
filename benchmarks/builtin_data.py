"""The labelled data that the bundled models learn from, as texts with the group each belongs to."""

import gzip
import hashlib
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from fastwarc.warc import ArchiveIterator, WarcRecordType
from resiliparse.extract.html2text import extract_plain_text
from resiliparse.parse.encoding import bytes_to_str, detect_encoding

from pipeline.metrics import Evaluation
from pipeline.models import builtin_path, load_fasttext
from stages.fasttext_text import best_labels, one_line

#: Pages per site. uci.edu is most of the crawl: a cap keeps "is about computer science" from meaning "is raw".
PAGES_PER_SITE = 40
#: Two texts are near duplicates, and so in one group, from this Jaccard similarity of their word trigrams on.
NEAR = 0.5
#: A trigram of more texts than this proposes no pairs: it is a phrase of the language, not a copy.
COMMON_SHINGLE = 30

Page = tuple[str, str]  # site, text

LICENCE = (
    "The model files are released under CC BY-SA 4.0: they are derived from texts under CC BY-SA (Wikipedia, "
    "OneStopEnglish, the forum sentences), CC BY 4.0 (OLID), MIT (Davidson et al.), Apache-2.0 (COLD) and from pages "
    "of public web sites, whose text cannot be read back from them."
)


def rows(path: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(path, "rb") as lines:
        for line in lines:
            yield json.loads(line)


def digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).digest()


def by_hash(texts: Iterable[str], *, most: int) -> list[str]:
    return sorted(texts, key=digest)[:most]


def english_pages(data: Path) -> list[Page]:
    """Main text of the English pages of the assembled crawl, one of each kind of beginning, in hash order."""
    found: dict[str, Page] = {}
    for file in sorted((data / "crawl/assembled").glob("*.warc.gz")):
        with file.open("rb") as stream:
            for record in ArchiveIterator(stream, record_types=WarcRecordType.response, parse_http=True):
                body = record.reader.read()
                if len(body) > 1_000_000 or b"<" not in body[:2000]:  # binaries and giants
                    continue
                page = bytes_to_str(body, detect_encoding(body))
                text = extract_plain_text(page, main_content=True, alt_texts=False)
                site = urlsplit(record.headers.get("WARC-Target-URI") or "").hostname or ""
                found.setdefault(one_line(text)[:300], (site, text))
    pages = sorted(found.values(), key=lambda page: digest(page[1]))
    model = load_fasttext(builtin_path("builtin/lid.176"))
    languages, scores = best_labels(model, [one_line(text) for _, text in pages])
    count: Counter[str] = Counter()
    kept = []
    for page, language, score in zip(pages, languages, scores, strict=True):
        if language == "en" and score >= 0.5 and count[page[0]] < PAGES_PER_SITE:
            count[page[0]] += 1
            kept.append(page)
    return kept


def prose(article: str) -> str:
    """A Wikipedia article's paragraphs: without headings, lists, image lines, and the line cut at 16,000 characters."""
    lines = article.split("\n")
    if len(article) >= 15_990:
        lines = lines[:-1]
    return "\n".join(line for line in lines if len(line) >= 80 and "|" not in line and "px" not in line)


def near_groups(texts: Sequence[str], groups: Sequence[str], *, characters: bool = False) -> list[str]:
    """For each text a group that near duplicates and texts of one of the given groups share: what may not be parted
    between training and test. Shingles are three words, or five `characters` for text without spaces."""
    parent = list(range(len(texts)))

    def root(place: int) -> int:
        while parent[place] != place:
            parent[place] = parent[parent[place]]
            place = parent[place]
        return place

    def join(one: int, other: int) -> None:
        one, other = sorted((root(one), root(other)))
        parent[other] = one

    first: dict[tuple[str, str], int] = {}
    shingles = []
    for place, (text, group) in enumerate(zip(texts, groups, strict=True)):
        units: Sequence[str] = re.findall(r"\w+", text.lower())
        for name in (("group", group), ("text", " ".join(units))):
            join(first.setdefault(name, place), place)
        if characters:
            units = "".join(units)
        size = 5 if characters else 3
        shingles.append({tuple(units[at : at + size]) for at in range(len(units) - size + 1)})
    holders: defaultdict[tuple[str, ...], list[int]] = defaultdict(list)
    for place, found in enumerate(shingles):
        for shingle in found:
            holders[shingle].append(place)
    shared: Counter[tuple[int, int]] = Counter()
    for places in holders.values():
        if len(places) <= COMMON_SHINGLE:
            shared.update((one, other) for at, other in enumerate(places) for one in places[:at])
    for (one, other), count in shared.items():
        if count >= NEAR * (len(shingles[one]) + len(shingles[other]) - count):
            join(one, other)
    return [f"{digest(groups[root(place)] + texts[root(place)]).hex()}" for place in range(len(texts))]


def shown(evaluation: Evaluation) -> str:
    area = evaluation.roc_auc
    return f"{area.value:.3f} ({area.low:.3f} to {area.high:.3f})"


def quantiles(scores: np.ndarray) -> str:
    return " | ".join(f"{value:.4f}" for value in np.quantile(scores, [0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 0.9]))
