"""Reads what the page shows out of a finished run's folder, in memory that does not grow with the run.

Documents and ledger are streamed a batch at a time, columns that are needed only; texts are read for the few rows that
are shown. Every draw is keyed by the document's id, so the same run shows the same examples.
"""

import hashlib
import heapq
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.files import Files
from pipeline.report.batches import batches, parts
from pipeline.report.clusters import Cluster, Partners, largest_clusters
from pipeline.report.histogram import Histogram, histograms
from pipeline.report.lengths import Lengths, token_lengths
from pipeline.report.offending import offending, pieces, window
from pipeline.report.scores import judged_columns
from pipeline.stage_texts import texts_of
from pipeline.takedown import with_duplicates

SAMPLES = 20
PAIRS = 10
QUARANTINE_ROWS = 200
#: Hosts, reasons by host, languages: the rarest half is forgotten when there are more kinds than this, so counts of
#: rare kinds are lower bounds on crawls of over 100,000 hosts.
_MAX_KINDS = 100_000
#: Rows at a time where texts are read: some tens of MB.
_TEXT_ROWS = 4096
_EXCERPT_CHARACTERS = 600
_KEY = b"tamis report"
_LEDGER = ("id", "source", "offset", "record", "url", "stage", "reason", "measured", "threshold")
#: Columns that the page shows of a kept document, besides its text.
_SHOWN = ("id", "source", "offset", "record", "url", "title", "language", "quality_score")
#: Columns that are numbers and no scores.
_NOT_SCORES = frozenset({"offset", "record"})


@dataclass(frozen=True, kw_only=True)
class KeptSample:
    row: dict[str, Any]
    excerpt: str


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A near or exact duplicate and the document that was kept instead (None if that was dropped by a later stage)."""

    dropped: dict[str, Any]
    kept: KeptSample | None


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """Documents that did not survive, by name and reason."""

    columns: list[str]
    #: (name, documents by column, documents for other reasons)
    rows: list[tuple[str, list[int], int]]


@dataclass
class Gathered:
    """What the page shows. Mutable while it is gathered."""

    reasons: Counter[tuple[str, str]] = field(default_factory=Counter)  # (stage, reason)
    dropped_hosts: Counter[tuple[str, str]] = field(default_factory=Counter)  # (host, reason)
    dropped_sources: Counter[tuple[str, str]] = field(default_factory=Counter)  # (source, reason)
    kept_hosts: Counter[str] = field(default_factory=Counter)
    languages: Counter[str] = field(default_factory=Counter)
    dropped_languages: Counter[str] = field(default_factory=Counter)  # as the language stage found them
    media_types: Counter[str] = field(default_factory=Counter)
    quarantined: list[dict[str, Any]] = field(default_factory=list)
    dropped: list[dict[str, Any]] = field(default_factory=list)
    #: id -> the part of a dropped document's text that its rule objected to: (piece, whether it is marked). Those whose
    #: texts are gone with the work folder are not there.
    objected: dict[str, list[tuple[str, bool]]] = field(default_factory=dict)
    #: Ids that were taken down after the run: nothing of their text, nor of their duplicates', is shown.
    removed: set[str] = field(default_factory=set)
    partners: Partners = field(default_factory=Partners)
    clusters: list[Cluster] = field(default_factory=list)
    partner_texts: dict[str, "KeptSample"] = field(default_factory=dict)
    lengths: Lengths = field(default_factory=Lengths)
    token_lengths: Lengths = field(default_factory=Lengths)
    kept: list[KeptSample] = field(default_factory=list)
    pairs: list[Pair] = field(default_factory=list)
    histograms: list[Histogram] = field(default_factory=list)


def gather(out: Path, manifest: Mapping[str, Any]) -> Gathered:
    """Everything that the page needs from `kept/` and `ledger/`."""
    found = Gathered()
    kept, ledger = parts(out, "kept"), parts(out, "ledger")
    judged = judged_columns(manifest["recipe"].get("stages", []))
    pairs = _read_ledger(ledger, found)
    found.removed = with_duplicates(lambda: batches(ledger, ["id", "partner"]), found.removed)
    found.clusters = largest_clusters(found.partners, batches(ledger, [*_LEDGER, "partner", "excerpt"]), _draw)
    wanted = {row["partner"] for row in pairs} | {cluster.partner for cluster in found.clusters}
    _read_kept(kept, found)
    drawn = set(_smallest_ids(kept, SAMPLES))
    texts = _texts(kept, drawn | wanted, found.lengths)
    found.token_lengths = token_lengths(out / "shards")
    found.kept = [texts[name] for name in sorted(drawn & texts.keys(), key=_draw)]
    found.pairs = [Pair(dropped=row, kept=texts.get(row["partner"])) for row in pairs]
    found.partner_texts = {name: texts[name] for name in sorted(wanted & texts.keys())}
    found.objected = _objected(found, manifest)
    found.histograms = histograms(_score_columns(kept), kept, ledger, judged)
    # Those that a rule judged come first, in the order of the recipe.
    order = {name: place for place, name in enumerate(judged)}
    found.histograms.sort(key=lambda histogram: order.get(histogram.column, len(order)))
    return found


def _objected(found: Gathered, manifest: Mapping[str, Any]) -> dict[str, list[tuple[str, bool]]]:
    """For each drawn document that was dropped, as far as its text is still there: the part with the first offence."""
    rows = [row for row in found.dropped if row["id"] not in found.removed]
    texts = texts_of(manifest, Files(manifest["observed"]["work"]), rows) if "work" in manifest["observed"] else {}
    shown = {}
    for row in rows:
        if text := texts.get(row["id"]):
            spans = offending(row, text, manifest["recipe"].get("stages", []))
            shown[row["id"]] = pieces(*window(text, spans, _EXCERPT_CHARACTERS))
    return shown


def _draw(name: str) -> bytes:
    return hashlib.blake2b(name.encode(), key=_KEY, digest_size=8).digest()


def _read_ledger(files: list[Path], found: Gathered) -> list[dict[str, Any]]:
    """Counts, the quarantine and drawn rows go to `found`; gives drawn rows of duplicates that name a partner."""
    drawn: list[tuple[bytes, dict[str, Any]]] = []
    pairs: list[tuple[bytes, dict[str, Any]]] = []
    for batch in batches(files, [*_LEDGER, "end", "outcome", "partner", "detail", "excerpt"]):
        _count_pairs(found.reasons, batch["stage"], batch["reason"])
        _count_pairs(found.dropped_hosts, _hosts(batch["url"]), batch["reason"])
        _count_pairs(found.dropped_sources, batch["source"], batch["reason"])
        _count(found.dropped_languages, _found_languages(batch))
        found.removed.update(batch.filter(pc.equal(batch["reason"], "removed"))["id"].to_pylist())
        is_dropped = pc.equal(batch["outcome"], "dropped")
        for row in batch.filter(pc.invert(is_dropped)).to_pylist()[: QUARANTINE_ROWS - len(found.quarantined)]:
            found.quarantined.append(row)
        drawn = _keep_smallest(drawn, batch.filter(is_dropped), SAMPLES)
        is_pair = pc.and_(pc.is_valid(batch["partner"]), pc.is_in(batch["reason"], pa.array(["near_dup", "exact_dup"])))
        found.partners.add(batch.filter(is_pair)["partner"])
        pairs = _keep_smallest(pairs, batch.filter(is_pair), PAIRS)
    found.dropped = [row for _, row in drawn]
    return [row for _, row in pairs]


def _found_languages(batch: pa.RecordBatch) -> pa.Array:
    """Which language the stage `language` named when it dropped a document."""
    detail = batch.filter(pc.equal(batch["reason"], "language"))["detail"].drop_null()
    return pc.struct_field(pc.extract_regex(detail, r"^found (?P<language>[^ ;,]+)"), "language").drop_null()


def _keep_smallest(
    drawn: list[tuple[bytes, dict[str, Any]]], batch: pa.RecordBatch, count: int
) -> list[tuple[bytes, dict[str, Any]]]:
    """The `count` rows whose ids draw lowest, of those drawn before and the batch's."""
    ranked = heapq.nsmallest(count, ((_draw(name), place) for place, name in enumerate(batch["id"].to_pylist())))
    rows = batch.take(pa.array([place for _, place in ranked], pa.int64())).to_pylist()
    new = [(rank, row) for (rank, _), row in zip(ranked, rows, strict=True)]
    return heapq.nsmallest(count, [*drawn, *new], key=lambda pair: pair[0])


def _read_kept(files: list[Path], found: Gathered) -> None:
    for batch in batches(files, ["url", "language", "media_type"]):
        for name, counter in (("language", found.languages), ("media_type", found.media_types)):
            if name in batch.schema.names:
                _count(counter, batch[name])
        _count(found.kept_hosts, _hosts(batch["url"]))


def _hosts(urls: pa.Array) -> pa.Array:
    """The host of each address in small letters; `(no address)` for a null or an address without one."""
    host = pc.struct_field(
        pc.extract_regex(urls, r"^[A-Za-z][A-Za-z0-9+.\-]*://(?:[^/?#]*@)?(?P<host>[^/?#:]+)"), "host"
    )
    return pc.fill_null(pc.utf8_lower(host), "(no address)")


def _count(counter: Counter[str], values: pa.Array) -> None:
    for item in pc.value_counts(values).to_pylist():
        counter["(none)" if item["values"] is None else item["values"]] += item["counts"]
    _forget_rare(counter)


def _count_pairs(counter: Counter[tuple[str, str]], first: pa.Array, second: pa.Array) -> None:
    table = pa.table({"first": first, "second": second}).group_by(["first", "second"]).aggregate([([], "count_all")])
    for row in table.to_pylist():
        counter[row["first"], row["second"]] += row["count_all"]
    _forget_rare(counter)


def _forget_rare(counter: Counter[Any]) -> None:
    if len(counter) > _MAX_KINDS:
        common = counter.most_common(_MAX_KINDS // 2)
        counter.clear()
        counter.update(dict(common))


def _smallest_ids(files: list[Path], count: int) -> list[str]:
    best: list[tuple[bytes, str]] = []
    for batch in batches(files, ["id"]):
        best = heapq.nsmallest(count, [*best, *((_draw(name), name) for name in batch["id"].to_pylist())])
    return [name for _, name in best]


def _texts(files: list[Path], ids: set[str], lengths: Lengths) -> dict[str, KeptSample]:
    """The rows with these ids and the beginnings of their texts; all texts are measured on the way."""
    found: dict[str, KeptSample] = {}
    wanted = pa.array(sorted(ids), pa.string())
    for batch in batches(files, [*_SHOWN, "text"], rows=_TEXT_ROWS):
        lengths.add_texts(batch["text"])
        for row in batch.filter(pc.is_in(batch["id"], value_set=wanted)).to_pylist():
            text = row.pop("text")
            found[row["id"]] = KeptSample(row=row, excerpt=_excerpt(text))
    return found


def _excerpt(text: str) -> str:
    return text if len(text) <= _EXCERPT_CHARACTERS else text[:_EXCERPT_CHARACTERS] + " …"


def _score_columns(files: list[Path]) -> list[str]:
    if not files:
        return []
    schema = pq.read_schema(files[0])
    numbers = (pa.types.is_floating, pa.types.is_integer)
    return [one.name for one in schema if one.name not in _NOT_SCORES and any(is_(one.type) for is_ in numbers)]


def by_host(found: Gathered, rows: int) -> list[tuple[str, int, int, str]]:
    """(host, kept, not kept, its commonest reason) of the hosts with most documents."""
    reasons: dict[str, Counter[str]] = defaultdict(Counter)
    for (host, reason), count in found.dropped_hosts.items():
        reasons[host][reason] += count
    total = Counter(found.kept_hosts)
    for host, counter in reasons.items():
        total[host] += counter.total()
    ordered = sorted(total.items(), key=lambda item: (-item[1], item[0]))[:rows]
    return [
        (host, found.kept_hosts[host], reasons[host].total(), min(reasons[host].items(), key=_commonest)[0])
        if reasons[host]
        else (host, found.kept_hosts[host], 0, "")
        for host, _ in ordered
    ]


def reasons_by(counts: Counter[tuple[str, str]], names: Sequence[str], most: int) -> Matrix:
    """Of each name (a host, a source) how many documents went for each of the commonest reasons."""
    total: Counter[str] = Counter()
    for (_, reason), number in counts.items():
        total[reason] += number
    columns = [reason for reason, _ in sorted(total.items(), key=_commonest)[:most]]
    own: dict[str, Counter[str]] = {name: Counter() for name in names}
    for (name, reason), number in counts.items():
        if name in own:
            own[name][reason] += number
    rows = []
    for name in names:
        cells = [own[name][reason] for reason in columns]
        rows.append((name, cells, own[name].total() - sum(cells)))
    return Matrix(columns=columns, rows=[row for row in rows if any(row[1]) or row[2]])


def _commonest(item: tuple[str, int]) -> tuple[int, str]:
    return -item[1], item[0]
