"""The engine `tamis` beside trafilatura and resiliparse: quality, speed, hostile pages and mutated ones.

    python -m benchmarks.extractor quality FOLDER [--judges DIR]     FOLDER has html_gold/
    python -m benchmarks.extractor curve FOLDER [--judges DIR]       the same with fewer trees
    python -m benchmarks.extractor speed FOLDER                      FOLDER has html_gold/ and crawl/assembled/
    python -m benchmarks.extractor hostile
    python -m benchmarks.extractor mutated FOLDER [--pages N]

`quality` scores each set by the measure of its makers (benchmarks/html_gold.py); a gold set that the shipped judge
has learned from is scored by the judge in DIR/SET.npz, made by `tamis extractor train … --leave-out trafilatura
--leave-out SET`. `speed` is pages per CPU second in one process after a warm-up, the engines in
turn on each twenty pages.
"""

import argparse
import random
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.html_gold import four_gram_scores, string_scores
from pipeline.extractor import GoldPage, crawled_pages, gold_pages
from pipeline.models import load_judge
from stages.charset import decode
from stages.extract import ExtractSettings, RawRecord, extract_one
from stages.extract_html import with_trafilatura
from stages.extract_tamis import Judge, judged
from stages.html_trees import Trees
from stages.language import LanguageSettings
from stages.limits import RefusedError, scan_html

SETS = ("trafilatura", "scrapinghub", "readability", "fundus")
LIMITS = {"max_attributes": 5_000, "max_depth": 2_000}
#: Rounds of the speed comparison; the median counts.
ROUNDS = 3
#: Shares of the trees that the curve is drawn at.
SHARES = (1, 1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 40)
#: Pages in a turn of an engine: a worker has one engine, whose tables are in the cache after the first page.
TURN = 20
#: A process that runs one hostile page: imports, compiled code and model are there before its size is measured.
HOSTILE = """
import resource, sys, time
from pipeline.models import load_judge
from benchmarks.extractor import hostile_page
from stages.charset import decode
from stages.extract_tamis import judged
judge = load_judge()
# An ordinary page of every step, as a worker has seen thousands of.
for _ in range(3):
    warm = "<title>é</title>" + "<div class=a><p>An ordinary sentence, <a href=b>with a link</a>.</p></div>" * 400
    judged(decode(warm.encode("latin-1"), declared=None).text.encode("utf-8", "replace"), judge).text()
def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
page, tail = hostile_page(sys.argv[1])
open("/proc/self/clear_refs", "w").write("5")
before, began = peak(), time.process_time()
text = judged(decode(page, declared=None).text.encode("utf-8", "replace"), judge)
shown = "".join(text.blocks.plain(block) for block in range(max(0, len(text.blocks) - 3), len(text.blocks)))
main = text.text()
took, grown = time.process_time() - began, peak() - before
print(len(page), round(took, 3), grown, text.visible_characters, len(main), tail in shown)
"""


def trafilatura_text(page: str) -> str:
    try:
        scan = scan_html(page, **LIMITS)
        return with_trafilatura(page, scan=scan, max_depth=LIMITS["max_depth"]).text
    except RefusedError:
        return ""


def score(pages: Sequence[GoldPage], found: Sequence[str]) -> tuple[float, float, float]:
    """Precision, recall and F1 by the measure of the set's makers."""
    if "with" in pages[0].row:
        tally = string_scores([page.row["with"] for page in pages], [page.row["without"] for page in pages], found)
    else:
        tally = four_gram_scores([page.row["gold_text"] for page in pages], found)
    scores = tally.scores()
    return scores.precision, scores.recall, scores.f1


def languages_of(texts: Sequence[str]) -> list[str]:
    """The language of each text by lid.176, as the language stage asks it."""
    from pipeline.models import builtin_path, load_fasttext

    model = load_fasttext(builtin_path(LanguageSettings().model))
    return [
        model.predict(" ".join(text.split())[:20_000])[0][0].removeprefix("__label__") if text.strip() else "none"
        for text in texts
    ]


def quality(folder: Path, judges: Path | None) -> None:
    print(
        "| set | pages | judge | tamis: precision | recall | F1 | trafilatura: precision | recall | F1 | difference |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    by_language: dict[str, list[tuple[GoldPage, str, str]]] = defaultdict(list)
    for name in SETS:
        pages = gold_pages(folder / "html_gold" / name)
        judge, which = judge_of(name, judges)
        ours = [judged(page.page.encode("utf-8", "replace"), judge).text() for page in pages]
        theirs = [trafilatura_text(page.page) for page in pages]
        ourscore, theirscore = score(pages, ours), score(pages, theirs)
        figures = " | ".join(f"{value:.4f}" for value in (*ourscore, *theirscore))
        print(f"| {name} | {len(pages)} | {which} | {figures} | {ourscore[2] - theirscore[2]:+.4f} |", flush=True)
        gold = [page.row.get("gold_text") or " ".join(page.row.get("with", [])) for page in pages]
        for language, page, our, their in zip(languages_of(gold), pages, ours, theirs, strict=True):
            by_language[f"{name}, {language}"].append((page, our, their))
    print("\n| set and language (10 pages or more) | pages | tamis F1 | trafilatura F1 |\n|---|---|---|---|")
    for language, rows in sorted(by_language.items(), key=lambda each: -len(each[1])):
        if len(rows) >= 10:
            some = [page for page, _, _ in rows]
            our = score(some, [text for _, text, _ in rows])[2]
            their = score(some, [text for _, _, text in rows])[2]
            print(f"| {language} | {len(rows)} | {our:.4f} | {their:.4f} |")


def judge_of(name: str, judges: Path | None) -> tuple[Judge, str]:
    """The judge that a set is scored by, and how it is called."""
    if judges is None or name == "trafilatura":
        return load_judge(), "shipped"
    return load_judge(judges / f"{name}.npz"), "without this set"


def curve(folder: Path, judges: Path | None) -> None:
    """F1 of each set and pages per CPU second, from UTF-8 to text, with the first so many trees of each layer."""
    sets = {name: gold_pages(folder / "html_gold" / name) for name in SETS}
    print(f"| trees | {' | '.join(SETS)} | mean | pages per CPU second |")
    print("|---" * (len(SETS) + 3) + "|")
    for share in SHARES:
        scores, spent, trees = [], 0.0, ""
        for name, pages in sets.items():
            whole, _ = judge_of(name, judges)
            fewer = replace(whole, first=_fewer(whole.first, share), second=_fewer(whole.second, share))
            trees = f"{len(fewer.first.roots)} + {len(fewer.second.roots)}"
            judged(pages[0].page.encode("utf-8", "replace"), fewer)
            began = time.process_time()
            found = [judged(page.page.encode("utf-8", "replace"), fewer).text() for page in pages]
            spent += time.process_time() - began
            scores.append(score(pages, found)[2])
        figures = " | ".join(f"{value:.4f}" for value in (*scores, statistics.mean(scores)))
        print(f"| {trees} | {figures} | {sum(map(len, sets.values())) / spent:,.0f} |", flush=True)


def _fewer(trees: Trees, share: float) -> Trees:
    return Trees(nodes=trees.nodes, leaves=trees.leaves, roots=trees.roots[: max(1, round(share * len(trees.roots)))])


def records(folder: Path, corpus: str, most: int) -> list[RawRecord]:
    if corpus == "html_gold":
        found = [
            RawRecord(content=page.page.encode("utf-8", "replace"), media_type="text/html", charset="utf-8")
            for name in SETS
            for page in gold_pages(folder / "html_gold" / name)
        ]
    else:
        files = sorted((folder / "crawl/assembled").glob(f"{corpus}-*.warc.gz"))
        found = [
            RawRecord(content=document.content, media_type="text/html", charset=document.charset)
            for document in crawled_pages(files)
        ]
    random.Random(0).shuffle(found)
    return found[:most]


def speed(folder: Path, most: int) -> None:
    judge = load_judge()
    engines = {name: ExtractSettings(engine=name) for name in ("tamis", "resiliparse", "trafilatura")}  # type: ignore[arg-type]
    print("| corpus | pages | MB | tamis | resiliparse | trafilatura | to resiliparse | to trafilatura |")
    print("|---|---|---|---|---|---|---|---|")
    for corpus in ("webmix", "uci", "html_gold"):
        pages = records(folder, corpus, most)
        for settings in engines.values():
            for page in pages[:5]:
                extract_one(page, settings, judge=judge)
        rates: dict[str, list[float]] = {name: [] for name in engines}
        for _ in range(ROUNDS):
            spent = dict.fromkeys(engines, 0.0)
            for begin in range(0, len(pages), TURN):
                for name, settings in engines.items():
                    began = time.process_time()
                    for page in pages[begin : begin + TURN]:
                        extract_one(page, settings, judge=judge)
                    spent[name] += time.process_time() - began
            for name in engines:
                rates[name].append(len(pages) / spent[name])
        shown = [f"{statistics.median(each):,.0f} ({min(each):,.0f} to {max(each):,.0f})" for each in rates.values()]
        ratios = [
            statistics.median(ours / theirs for ours, theirs in zip(rates["tamis"], rates[name], strict=True))
            for name in ("resiliparse", "trafilatura")
        ]
        size = sum(len(page.content) for page in pages) / 1e6
        print(
            f"| {corpus} | {len(pages)} | {size:.1f} | {' | '.join(shown)} | "
            + " | ".join(f"{ratio:.1f} x" for ratio in ratios)
            + " |",
            flush=True,
        )


TAIL = "the very last words of this page"
_NORMAL = "<p>" + "All of this is an ordinary sentence of an ordinary page. " * 30 + "</p>"


def _attributes(number: int) -> str:
    return "<div " + " ".join(f"a{k}=v{k}" for k in range(number)) + ">"


#: Pages of the fault table that make parsers hang, lose text or eat memory; each ends with the same words.
PAGES: dict[str, Callable[[], str]] = {
    "4.5 M nested div, 50 MB": lambda: "<div>" * 4_500_000 + _NORMAL + "</div>" * 4_500_000,
    "90 k nested div": lambda: "<div>" * 90_000 + _NORMAL + "</div>" * 90_000,
    "5 k nested div": lambda: "<div>" * 5_000 + _NORMAL + "</div>" * 5_000,
    "depth 300": lambda: "<div>" * 300 + _NORMAL + "</div>" * 300,
    "1e6 attributes": lambda: _attributes(1_000_000),
    "1e5 attributes": lambda: _attributes(100_000),
    "500 k unclosed p, b, i": lambda: "<p><b><i>word and word" * 500_000,
    "300 k flat p": lambda: "<p>word</p>\n" * 300_000,
    "1 M br": lambda: "word<br>" * 1_000_000,
    "2 k nested tables": lambda: "<table><tr><td>" * 2_000 + _NORMAL + "</td></tr></table>" * 2_000,
    "2 k nested lists": lambda: "<ul><li>" * 2_000 + _NORMAL + "</li></ul>" * 2_000,
    "30 MB text node": lambda: "<p>" + "word " * 6_000_000 + "</p>",
    "15 MB without a space": lambda: "<p>" + "w" * 15_000_000 + "</p>",
    "15 MB data: URI": lambda: "<img src='data:" + "A" * 15_000_000 + "'>",
    "1 M entities": lambda: "<p>" + "&eacute;&amp;&#8364;" * 333_333 + "</p>",
    "10 MB of <": lambda: "<p>" + "<" * 10_000_000 + " </p>",
    "10 MB of &": lambda: "<p>" + "&" * 10_000_000 + "</p>",
    "10 MB of <a": lambda: "<p>" + "<a " * 3_333_333 + "></p>",
    "3 M end tags of nothing, 4 k deep": lambda: "<div>" * 4_000 + "<section>" + "<td></section>" * 700_000,
    "2 M unclosed li": lambda: "<ul>" + "<li>x" * 2_000_000 + "</ul>",
    "100 k titles that never end": lambda: "<title>" * 100_000,
    "random bytes, 5 MB": lambda: random.Random(0).randbytes(5_000_000).decode("latin-1"),
    "NUL bytes, 1 MB": lambda: "<p>a\0b" * 200_000,
}


def hostile_page(name: str) -> tuple[bytes, str]:
    """A hostile page and the words that stand at its end."""
    page = f"<html><body>{_NORMAL}{PAGES[name]()}<p>{TAIL}</p>"
    return page.encode("latin-1" if "random" in name else "utf-8"), TAIL


def hostile() -> None:
    print("| page | MB | CPU seconds | peak memory / size | visible characters | main text | last words are there |")
    print("|---|---|---|---|---|---|---|")
    for name in PAGES:
        done = subprocess.run([sys.executable, "-c", HOSTILE, name], capture_output=True, text=True, check=False)
        if done.returncode:
            print(f"| {name} | failed: {done.stderr[-300:]} |")
            continue
        size, took, grown, visible, main, there = done.stdout.split()
        ratio = int(grown) / int(size)
        print(f"| {name} | {int(size) / 1e6:.2f} | {took} | {ratio:.1f} x | {visible} | {main} | {there} |", flush=True)


def mutated(page: bytes, dice: random.Random) -> bytes:
    """A page with some bytes changed, cut out, doubled, or replaced by markup."""
    data = bytearray(page)
    for _ in range(dice.randint(1, 20)):
        at = dice.randrange(len(data) + 1)
        length = dice.choice((1, 1, 4, 50, 1000))
        kind = dice.randrange(5)
        if kind == 0:
            data[at : at + length] = dice.randbytes(length)
        elif kind == 1:
            del data[at : at + length]
        elif kind == 2:
            data[at:at] = data[at : at + length] * dice.randint(1, 5)
        elif kind == 3:
            data[at:at] = dice.choice(_SNIPPETS) * dice.randint(1, 30)
        elif data:
            start = dice.randrange(len(data))
            data[at:at] = data[start : start + length]
    return bytes(data)


_SNIPPETS = (
    b"<", b">", b"&", b"&#", b"&#x", b"</", b"<!--", b"-->", b"<![CDATA[", b"<script>", b"</script>", b"<title>",
    b"<pre>", b"<textarea>", b"<table><tr><td>", b"</table>", b"<li>", b"</p>", b"<svg>", b"<template>", b"'", b'"',
    b"=", b"\0",
    b"\xff", b"\xe2\x82", b"<a href=x>", b"<td>", b"<br>", b"<select><option>", b"\x1f\x02", b"&nGt;", b"<plaintext>",
)  # fmt: skip


def fuzz(folder: Path, number: int) -> None:
    """Mutated pages: none may crash, every text is valid UTF-8 without control characters; time against size."""
    judge = load_judge()
    dice = random.Random(0)
    pages = [record.content for record in records(folder, "webmix", 200)]
    sizes, times, wrong = [], [], 0
    for at in range(number):
        page = mutated(pages[at % len(pages)], dice)
        text = decode(page, declared=None).text.encode("utf-8", "replace")
        began = time.process_time()
        found = judged(text, judge)
        out = found.text(markdown=at % 2 == 1)
        times.append(time.process_time() - began)
        sizes.append(len(text))
        bad = any((ord(letter) < 32 and letter not in "\n\t") or 0xD800 <= ord(letter) < 0xE000 for letter in set(out))
        wrong += bad or out.encode().decode() != out
    slope, offset = np.polyfit(sizes, times, 1)
    print(f"{number:,} mutated pages, {sum(sizes) / 1e6:.0f} MB: no crash, {wrong} with a wrong byte")
    print(
        f"CPU seconds = {offset * 1e3:.2f} ms + {slope * 1e9:.1f} ns a byte over {min(sizes):,} to {max(sizes):,} bytes"
    )
    whole = [page.decode("utf-8", "replace").encode() for page in pages]
    print("\n| size, MB | CPU ms | ns a byte |\n|---|---|---|")
    joined = b"".join(whole)
    for exponent in range(8):
        part = joined[: 100_000 << exponent]
        best = min(_timed(lambda page=part: judged(page, judge).text()) for _ in range(3))  # type: ignore[misc]
        print(f"| {len(part) / 1e6:.2f} | {best * 1e3:.2f} | {best / len(part) * 1e9:.1f} |")


def _timed(work: Callable[[], Any]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("quality", "curve", "speed", "hostile", "mutated"))
    parser.add_argument("folder", type=Path, nargs="?", default=Path("../shared/data"))
    parser.add_argument("--judges", type=Path, help="folder of judges, each without the set it is named for")
    parser.add_argument("--pages", type=int, default=10_000, help="mutated pages; for speed, pages of each corpus")
    told = parser.parse_args()
    if told.what == "hostile":
        hostile()
    elif not told.folder.is_dir():
        sys.exit(f"{told.folder}: no such folder")
    elif told.what == "quality":
        quality(told.folder, told.judges)
    elif told.what == "curve":
        curve(told.folder, told.judges)
    elif told.what == "speed":
        speed(told.folder, told.pages)
    else:
        fuzz(told.folder, told.pages)


if __name__ == "__main__":
    main()
