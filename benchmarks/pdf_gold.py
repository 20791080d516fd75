"""PDF text beside gold text: words found and made up, olmocr-bench, pages a CPU second; for docs/benchmarks.md.

    python -m benchmarks.pdf_gold [FOLDER] [--work DIR]     FOLDER holds gold_debian.tar.xz, olmocr-bench-sample.tar.xz
                                                            and py-pdf-sample-files.tar.xz; default ../shared/data/pdf

Ours by both engines, as text and as Markdown, and plain `pdftotext` (Debian: poppler-utils), which is told to be absent
where it is. Recall and precision compare multisets of words, of characters for Chinese, Japanese and Korean. The checks
are those of olmocr-bench (allenai/olmocr, olmocr/bench/tests.py), with its normalisation and its two matchers; a check
of a formula needs LaTeX, which no engine here writes, so all of those fail and count.
"""

import argparse
import json
import re
import resource
import shutil
import subprocess
import tarfile
import tempfile
import time
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import pypdfium2
from fuzzysearch import find_near_matches
from rapidfuzz import fuzz

from stages.extract_pdf import with_pymupdf, with_pypdfium2
from stages.limits import RefusedError

GROUPS = ("gold_debian", "py-pdf-sample-files", "olmocr-bench-sample")
#: Languages that are compared by characters.
UNSPACED = (".ko.", ".ja.", ".zh")
#: Repeats of the timing; the two sides of a ratio take turns.
REPEATS = 3

#: Every so many manuals are timed: enough for a stable figure, all would take minutes.
TIMED = 5

#: What olmocr takes for the same character.
SAME = str.maketrans(
    {**dict.fromkeys("‘’‚", "'"), **dict.fromkeys("“”„", '"'), "＿": "_", **dict.fromkeys("–—‑‒−", "-"),
     "\u00b5": "\u03bc"}
)  # fmt: skip

Engine = Callable[[Path], str]


def ours(path: Path, *, engine: Callable[..., Any], markdown: bool) -> str:
    try:
        return str(engine(path.read_bytes(), max_pages=10_000, max_unreadable=0.01, markdown=markdown).text)
    except RefusedError:
        return ""


def with_running_headers(path: Path) -> str:
    """Ours by PDFium without the removal of running headers, which `pdftotext` does not remove either."""
    with mock.patch("stages.extract_pdf.without_margins", list):
        return ours(path, engine=with_pypdfium2, markdown=False)


def pdftotext(path: Path) -> str:
    done = subprocess.run(["pdftotext", str(path), "-"], capture_output=True, check=False)
    return done.stdout.decode("utf-8", "replace")


def plain_pdfium(path: Path) -> str:
    """PDFium's own text of each page, nothing done to it."""
    parts = []
    document = pypdfium2.PdfDocument(path.read_bytes())
    for number in range(len(document)):
        page = document[number]
        text_page = page.get_textpage()
        parts.append(text_page.get_text_range())
        text_page.close()
        page.close()
    document.close()
    return "\n".join(parts)


def plain_mupdf(path: Path) -> str:
    """MuPDF's own text of each page, nothing done to it."""
    import pymupdf  # An optional extra.

    with pymupdf.open(stream=path.read_bytes(), filetype="pdf") as document:
        return "\n".join(page.get_text() for page in document)


def engines() -> dict[str, Engine]:
    found: dict[str, Engine] = {
        "pypdfium2": partial(ours, engine=with_pypdfium2, markdown=False),
        "pypdfium2, Markdown": partial(ours, engine=with_pypdfium2, markdown=True),
    }
    try:
        import pymupdf  # noqa: F401 - an optional extra
    except ImportError:
        print("pymupdf is not installed (the extra pdf-mupdf): its rows are missing\n")
    else:
        found["pymupdf"] = partial(ours, engine=with_pymupdf, markdown=False)
        found["pymupdf, Markdown"] = partial(ours, engine=with_pymupdf, markdown=True)
    if shutil.which("pdftotext"):
        found["pdftotext"] = pdftotext
    else:
        print("pdftotext is not installed (Debian: poppler-utils): its rows are missing\n")
    return found


# Gold texts


@dataclass(frozen=True, kw_only=True)
class Score:
    recall: float
    precision: float


def units(text: str, *, characters: bool) -> Counter[str]:
    found = re.findall(r"\w+", unicodedata.normalize("NFC", text).lower())
    return Counter("".join(found)) if characters else Counter(found)


def score(text: str, gold: str, *, characters: bool) -> Score:
    have, want = units(text, characters=characters), units(gold, characters=characters)
    both = (have & want).total()
    return Score(recall=both / max(1, want.total()), precision=both / max(1, have.total()))


def gold_table(folder: Path, given: dict[str, Engine]) -> None:
    found = {**given, "pypdfium2, headers kept": with_running_headers}
    names = list(found)
    print(
        "| file | "
        + " | ".join(f"{name}: recall, precision" for name in names)
        + " |\n|---" * 1
        + "|---" * len(names)
        + "|"
    )
    sums: dict[str, list[Score]] = defaultdict(list)
    for path in sorted(folder.rglob("*.gold.txt")):
        pdf = path.with_name(path.name.removesuffix(".gold.txt") + ".pdf")
        if not pdf.exists():
            print(f"| {pdf.name} | not in the folder |")
            continue
        gold = path.read_text("utf-8")
        cells = []
        for name in names:
            one = score(found[name](pdf), gold, characters=any(part in pdf.name for part in UNSPACED))
            sums[name].append(one)
            cells.append(f"{one.recall:.4f}, {one.precision:.4f}")
        print(f"| {pdf.name} | " + " | ".join(cells) + " |", flush=True)
    for what, pick in (("mean", lambda values: sum(values) / len(values)), ("lowest", min)):
        cells = [f"{pick([s.recall for s in sums[n]]):.4f}, {pick([s.precision for s in sums[n]]):.4f}" for n in names]
        print(f"| **{what}** | " + " | ".join(cells) + " |")
    print()


# Checks of olmocr-bench


def normalised(text: str) -> str:
    text = re.sub(r"<br/?>", " ", text)
    for mark in (r"\*\*(.*?)\*\*", r"__(.*?)__"):
        text = re.sub(mark, r"\1", text)
    text = re.sub(r"</?[bi]>", "", text)
    text = re.sub(r"(\*\*|__)(.*?)\1", r"\2", text)
    text = re.sub(r"(\*|_)(.*?)\1", r"\2", text)
    return unicodedata.normalize("NFC", re.sub(r"\s+", " ", text)).translate(SAME)


def holds(check: dict[str, Any], text: str) -> bool:
    """Whether a page's text passes a check."""
    kind, differences = check["type"], check.get("max_diffs", 0)
    if kind in {"present", "absent"}:
        return _has(check, normalised(text)) == (kind == "present")
    if kind == "order":
        whole = normalised(text)
        before = find_near_matches(normalised(check["before"]), whole, max_l_dist=differences)
        after = find_near_matches(normalised(check["after"]), whole, max_l_dist=differences)
        return bool(before and after) and min(one.start for one in before) < max(one.start for one in after)
    return kind == "table" and any(_cell_holds(check, table) for table in tables(text))


def _has(check: dict[str, Any], text: str) -> bool:
    query = normalised(check["text"])
    if not check.get("case_sensitive", True):
        query, text = query.lower(), text.lower()
    first, last = check.get("first_n"), check.get("last_n")
    if first or last:
        text = (text[:first] if first else "") + (text[-last:] if last else "")
    differences = check.get("max_diffs", 0)
    if len(text) < len(query) - differences:
        return False
    return fuzz.partial_ratio(query, text) / 100 >= 1 - differences / max(1, len(query))


def tables(text: str) -> list[list[list[str]]]:
    """The pipe tables of a Markdown text, as rows of cells."""
    found: list[list[list[str]]] = [[]]
    for line in text.split("\n"):
        if not line.startswith("|"):
            found.append([])
        elif not re.fullmatch(r"[|:\- ]+", line):
            found[-1].append([cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
    return [table for table in found if table]


def _cell_holds(check: dict[str, Any], table: list[list[str]]) -> bool:
    def near(wanted: str, cell: str) -> bool:
        wanted, most = normalised(wanted), check.get("max_diffs", 0)
        return fuzz.ratio(wanted, normalised(cell)) / 100 >= max(0.5, 1 - most / max(1, len(wanted)))

    def at(row: int, column: int) -> list[str]:
        return [table[row][column]] if 0 <= row < len(table) and 0 <= column < len(table[row]) else []

    for row, cells in enumerate(table):
        for column, cell in enumerate(cells):
            if not near(check["cell"], cell):
                continue
            around = {
                "up": at(row - 1, column),
                "down": at(row + 1, column),
                "left": at(row, column - 1),
                "right": at(row, column + 1),
                "top_heading": [one for above in range(row) for one in at(above, column)],
                "left_heading": cells[:column],
            }
            if all(any(near(check[way], one) for one in there) for way, there in around.items() if check.get(way)):
                return True
    return False


def check_table(folder: Path, found: dict[str, Engine]) -> None:
    checks = [json.loads(line) for line in (folder / "tests.jsonl").read_text("utf-8").split("\n") if line.strip()]
    path_of = {check["pdf"]: folder / check["pdf"].replace("/", "__") for check in checks}
    missing = sorted(name for name, path in path_of.items() if not path.exists())
    checks = [check for check in checks if check["pdf"] not in missing]
    if missing:
        print(f"not in the folder, their checks left out: {', '.join(missing)}\n")
    kinds = sorted({check["type"] for check in checks})
    print("| engine | all | " + " | ".join(kinds) + " |\n|---|---" + "|---" * len(kinds) + "|")
    for name, engine in found.items():
        texts = {pdf: engine(path) for pdf, path in path_of.items() if path.exists()}
        passed: Counter[str] = Counter(check["type"] for check in checks if holds(check, texts[check["pdf"]]))
        of = Counter(check["type"] for check in checks)
        share = f"{passed.total()} of {of.total()} ({passed.total() / of.total():.1%})"
        print(
            f"| {name} | {share} | " + " | ".join(f"{passed[kind]} of {of[kind]}" for kind in kinds) + " |", flush=True
        )
    print()


# Speed


def cpu_seconds(work: Callable[[], Any]) -> float:
    """CPU time of this process and of the children that it waited for."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.process_time()
    work()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() - started + after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def speed_table(paths: Sequence[Path], found: dict[str, Engine]) -> None:
    pages = sum(len(pypdfium2.PdfDocument(path)) for path in paths)
    plain: dict[str, Engine] = {"PDFium, its own text": plain_pdfium}
    if "pymupdf" in found:
        plain["MuPDF, its own text"] = plain_mupdf
    both = found | plain
    for engine in both.values():
        engine(paths[0])
    seconds: dict[str, list[float]] = defaultdict(list)
    for _ in range(REPEATS):
        for name, engine in both.items():
            seconds[name].append(cpu_seconds(lambda engine=engine: [engine(path) for path in paths]))  # type: ignore[misc]
    print(f"{pages} pages of {len(paths)} manuals\n")
    print("| engine | pages per CPU second: median (range) | beside the library's own text |")
    print("|---|---|---|")
    for name, times in seconds.items():
        library = (
            "PDFium, its own text" if "pypdfium2" in name else "MuPDF, its own text" if "pymupdf" in name else None
        )
        ratio = ""
        if library:
            ratios = sorted(ours / theirs for ours, theirs in zip(times, seconds[library], strict=True))
            ratio = f"{ratios[len(ratios) // 2]:.2f} x the time"
        rates = sorted(pages / one for one in times)
        print(f"| {name} | {rates[len(rates) // 2]:,.0f} ({rates[0]:,.0f} to {rates[-1]:,.0f}) | {ratio} |")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("folder", nargs="?", type=Path, default=Path("../shared/data/pdf"))
    arguments.add_argument("--only", choices=("gold", "checks", "speed"), help="one of the three tables")
    options = arguments.parse_args()
    if not (options.folder / f"{GROUPS[0]}.tar.xz").exists():
        raise SystemExit(f"{options.folder}: no {GROUPS[0]}.tar.xz there. Name the folder that holds it.")
    found = engines()
    with tempfile.TemporaryDirectory() as made:
        work = Path(made)
        for group in GROUPS:
            if (options.folder / f"{group}.tar.xz").exists():
                with tarfile.open(options.folder / f"{group}.tar.xz") as archive:
                    archive.extractall(work, filter="data")
        if options.only in {None, "gold"}:
            gold_table(work, {name: engine for name, engine in found.items() if "Markdown" not in name})
        if options.only in {None, "checks"} and (work / "olmocr-bench-sample").is_dir():
            check_table(work / "olmocr-bench-sample", found)
        if options.only in {None, "speed"}:
            speed_table(sorted((work / "gold_debian").glob("*.pdf"))[::TIMED], found)


if __name__ == "__main__":
    main()
