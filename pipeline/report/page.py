"""`report.html`: what a run did, on one page that needs nothing else, and the funnel as text for a terminal."""

import json
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from pipeline.report import charts
from pipeline.report.against import against_section
from pipeline.report.clusters import cluster_sizes
from pipeline.report.comparison import comparison_section
from pipeline.report.gather import Gathered, by_host, gather, reasons_by
from pipeline.report.lengths import Lengths
from pipeline.report.vocabulary import compression_tables, usage_lines
from stages.reasons import REASONS

REPORT = "report.html"
_HOST_ROWS = 20
_SOURCE_ROWS = 20
_OUTPUT_ROWS = 200
#: Reasons that have a column of their own beside hosts and sources.
_REASON_COLUMNS = 12
_NOTHING = Markup("")
_LANGUAGE_ROWS = 15


def write_report(out: Path, *, against: Path | None = None) -> Path:
    """Read the finished run in `out` and write its `report.html`, with a comparison to the run in `against`; gives the
    path.

    The page changes no promised byte: the root does not cover it. FileNotFoundError if there is no manifest;
    ValueError names a results.json that cannot be compared.
    """
    # One JSON file is the run; whatever else lies in the folder is shown only if the manifest's run made it.
    manifest = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    results_path = out / "results.json"
    results = json.loads(results_path.read_text(encoding="utf-8")) if results_path.exists() else None
    compared = against_section(out, manifest, against) if against else Markup("")
    page = render(manifest, gather(out, manifest), results=results, against=compared)
    path = out / REPORT
    beside = out / f".{REPORT}"
    # Page text comes from anywhere: a lone surrogate cannot be written as UTF-8, but must not lose the report.
    beside.write_text(page, encoding="utf-8", errors="replace", newline="\n")
    beside.replace(path)
    return path


def render(
    manifest: Mapping[str, Any], found: Gathered, *, results: Mapping[str, Any] | None, against: Markup = _NOTHING
) -> str:
    """The page as a string. Pure. All values are escaped by the template engine; charts escape their own text."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"count": count, "size": size, "share": _share, "number": charts.number, "clean": clean}
    template = environment.from_string(
        resources.files("pipeline.report").joinpath("page.html.jinja").read_text("utf-8")
    )
    hosts = by_host(found, _HOST_ROWS)
    sources = sorted(manifest.get("sources", []), key=lambda row: (-row["documents"], row["source"]))[:_SOURCE_ROWS]
    judged = [histogram for histogram in found.histograms if histogram.limits or any(histogram.dropped)]
    return template.render(
        style=style_sheet(),
        manifest=manifest,
        counts=manifest["counts"],
        sentence=sentence(manifest),
        funnel=funnel_rows(manifest),
        reasons=_reason_rows(manifest),
        hosts=hosts,
        host_reasons=reasons_by(found.dropped_hosts, [row[0] for row in hosts], _REASON_COLUMNS),
        sources=sources,
        source_reasons=reasons_by(found.dropped_sources, [row["source"] for row in sources], _REASON_COLUMNS),
        lengths=_lengths(found),
        cluster_sizes=cluster_sizes(found.partners),
        dropped_languages=_bars(found.dropped_languages.most_common(_LANGUAGE_ROWS)),
        longest=max((phase["seconds"] for phase in manifest["phases"]), default=0) or 1.0,
        against=against,
        judged=[(histogram, charts.histogram(histogram)) for histogram in judged],
        measured=[
            (histogram, charts.histogram(histogram)) for histogram in found.histograms if histogram not in judged
        ],
        languages=_bars(found.languages.most_common(_LANGUAGE_ROWS)),
        media_types=_bars(found.media_types.most_common(_LANGUAGE_ROWS)),
        compression=compression_tables(manifest),
        used=usage_lines(manifest),
        longest_entries=((manifest.get("vocabulary") or {}).get("usage") or {}).get("longest", ()),
        sample=(manifest.get("vocabulary") or {}).get("sample"),
        found=found,
        sentences=REASONS,
        outputs=list(manifest.get("outputs", {}).items())[:_OUTPUT_ROWS],
        recipe=json.dumps(manifest["recipe"], indent=2, ensure_ascii=False),
        comparison=comparison_section(results) if results else Markup(""),
    )


def style_sheet() -> Markup:
    """What all our pages look like, to be written into them: a page needs nothing but itself."""
    return Markup(resources.files("pipeline.report").joinpath("style.css").read_text("utf-8"))  # noqa: S704 (our own)


def sentence(manifest: Mapping[str, Any]) -> str:
    """What happened, in one sentence."""
    counts = manifest["counts"]
    documents = counts["documents"]
    share = f" ({_share(counts['kept'], documents)})" if documents else ""
    tokens = f" and {counts['tokens']:,} tokens" if counts.get("tokens") else ""
    observed = manifest.get("observed", {})
    took = f" It took {duration(observed['seconds'])}." if "seconds" in observed else ""
    text = size(counts.get("text_bytes") or 0)
    return (
        f"Of {documents:,} documents, {counts['kept']:,}{share} were kept, with {text} of text{tokens}; "
        f"{counts['dropped']:,} were dropped by a rule and {counts['quarantined']:,} could not be read.{took}"
    )


def funnel_rows(manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row a stage: name, documents in and out, how many it rejected, share left of all read, text, and reasons."""
    stages = manifest["counts"]["stages"]
    total = stages[0]["documents"] if stages else 0
    counts = manifest["counts"]
    # Only what is kept is cut into tokens: before that, as many bytes for a token as there.
    a_token = counts["text_bytes"] / counts["tokens"] if counts.get("tokens") and counts.get("text_bytes") else None
    return [
        {
            "stage": stage["stage"],
            "documents": stage["documents"],
            "kept": stage["kept"],
            "rejected": stage["documents"] - stage["kept"],
            "share": stage["kept"] / total if total else 0.0,
            "share_in": stage["documents"] / total if total else 0.0,
            "text": _text_amount(stage),
            "tokens": _token_amount(stage, a_token, is_last=stage is stages[-1], exact=counts.get("tokens")),
            "reasons": sorted(stage["reasons"].items(), key=lambda item: (-item[1], item[0])),
        }
        for stage in stages
    ]


def funnel_text(manifest: Mapping[str, Any]) -> str:
    """The funnel as a table for a terminal: one line a stage, the commonest reasons at its end, totals below."""
    rows = [("stage", "documents", "kept", "rejected", "left", "text", "reasons")]
    for row in funnel_rows(manifest):
        shown = [f"{reason} {count:,}" for reason, count in row["reasons"][:3]]
        more = [f"and {len(row['reasons']) - 3} more"] if len(row["reasons"]) > 3 else []
        rows.append(
            (
                row["stage"],
                f"{row['documents']:,}",
                f"{row['kept']:,}",
                f"{row['rejected']:,}",
                f"{row['share']:.1%}",
                row["text"],
                ", ".join([*shown, *more]),
            )
        )
    widths = [max(len(line[column]) for line in rows) for column in range(len(rows[0]))]
    lines = []
    for line in rows:
        # Names and reasons to the left, numbers to the right.
        cells = [
            cell.ljust(width) if column in (0, 6) else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join([*lines, sentence(manifest)])


def size(count: float) -> str:
    """Bytes in the unit that leaves one to three digits before the point; powers of 1000."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if count < 999.5 or unit == "TB":
            return f"{count:.0f} {unit}" if unit == "B" or count >= 99.95 else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError


def duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def _lengths(found: Gathered) -> list[tuple[str, Lengths, Markup]]:
    """What was counted of lengths: (in what, the counts, the picture)."""
    rows = []
    for name, counted in (("bytes of text", found.lengths), ("tokens", found.token_lengths)):
        data = counted.histogram(name)
        if data is not None:
            rows.append((name, counted, charts.histogram(data)))
    return rows


def _text_amount(stage: Mapping[str, Any]) -> str:
    if stage.get("text_bytes_kept"):  # a reader has seen no text yet and counts none
        return size(stage["text_bytes_kept"])
    if stage.get("characters_kept") is not None:
        return f"{stage['characters_kept']:,} characters"
    return ""


def _token_amount(stage: Mapping[str, Any], bytes_a_token: float | None, *, is_last: bool, exact: int | None) -> str:
    if bytes_a_token is None or not stage.get("text_bytes_kept"):
        return ""
    return f"{exact:,}" if is_last else f"about {round(stage['text_bytes_kept'] / bytes_a_token, -3):,.0f}"


def _reason_rows(manifest: Mapping[str, Any]) -> list[tuple[str, str, int, str]]:
    """(stage, reason, count, the sentence that explains the code), the commonest first."""
    rows = [
        (stage["stage"], reason, count, REASONS.get(reason, ""))
        for stage in manifest["counts"]["stages"]
        for reason, count in stage["reasons"].items()
    ]
    return sorted(rows, key=lambda row: (-row[2], row[0], row[1]))


def _bars(counts: Sequence[tuple[str, int]]) -> list[tuple[str, int, float]]:
    most = max((count for _, count in counts), default=1)
    return [(name, count, count / most) for name, count in counts]


def count(value: int | None) -> str:
    """A number with its thousands apart; nothing for None."""
    return "" if value is None else f"{value:,}"


def _share(part: float, whole: float) -> str:
    return f"{part / whole:.1%}" if whole else "–"


def clean(text: str | None) -> str:
    """Text of hostile pages for display, without control and bidirectional override characters."""
    return "".join(_visible(character) for character in text or "")


def _visible(character: str) -> str:
    code = ord(character)
    hidden = (code < 0x20 and character not in "\n\t") or 0x7F <= code < 0xA0 or 0xD800 <= code < 0xE000
    return "\ufffd" if hidden or 0x202A <= code <= 0x202E or 0x2066 <= code <= 0x2069 else character
