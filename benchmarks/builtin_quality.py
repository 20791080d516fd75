"""quality-en: its labels, and what its card says of it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from scipy.stats import spearmanr

from benchmarks.builtin_data import PAGES_PER_SITE, Page, by_hash, prose, quantiles, rows, shown
from benchmarks.builtin_toxicity import plain
from pipeline.classifier import Training, is_held_out
from pipeline.labels import Label
from pipeline.metrics import BOOTSTRAPS, Interval, evaluate_scores, paired_difference
from stages import quality
from stages.fasttext_text import one_line, windows

#: Words in a text that quality-en learns from: long enough to show style, the same for both kinds, so that length and
#: cut ends say nothing.
QUALITY_WORDS = 150
MIN_QUALITY_WORDS = 40
#: Texts per edited article and per crawled page, so that long ones do not outweigh the rest.
PER_ARTICLE = 3
PER_PAGE = 3
#: Posts of each of three sources: what people write to each other. They are also the only short texts.
POSTS = 1_000

QUALITY = Training(dimension=16, epochs=2, learning_rate=0.2, min_count=5, quantise=False)
#: The classes that Wikipedia's editors give, worst first.
GRADES = ("stub", "start", "c", "b", "ga", "fa")


def quality_pieces(text: str, *, most: int) -> list[str]:
    pieces = windows(one_line(text), words=QUALITY_WORDS)
    return by_hash((piece for piece in pieces if piece.count(" ") >= MIN_QUALITY_WORDS), most=most)


def quality_labels(data: Path, pages: list[Page]) -> list[Label]:
    labels = []
    for row in rows(data / "quality/wikipedia_classes.jsonl.gz"):
        if row["label"] in ("fa", "ga"):
            group = f"wikipedia {row['id']}"
            pieces = quality_pieces(prose(row["text"]), most=PER_ARTICLE)
            labels += [Label(text=piece, label="hq", group=group) for piece in pieces]
    for row in rows(data / "quality/onestop_levels.jsonl.gz"):
        pieces = quality_pieces(row["text"], most=PER_ARTICLE)
        labels += [Label(text=piece, label="hq", group=f"onestop {row['title']}") for piece in pieces]
    for site, text in pages:
        pieces = quality_pieces(text, most=PER_PAGE)
        labels += [Label(text=piece, label="raw", group=f"site {site}") for piece in pieces]
    for name in ("olid_train", "civil_toxic_spans", "whiteforum_sentences"):
        posts = by_hash((row["text"] for row in rows(data / f"toxicity/{name}.jsonl.gz")), most=POSTS)
        labels += [Label(text=plain(post), label="raw", group=post) for post in posts]
    return labels


def document_scores(model: Any, texts: Sequence[str]) -> np.ndarray:
    """What the stage measures."""
    table = pa.table({"text": pa.array(list(texts), pa.large_string())})
    measured: np.ndarray = quality.measure(table, quality.QualitySettings(), {"model": model})[
        "quality_score"
    ].to_numpy()
    return measured


def quality_notes(model: Any, data: Path, pages: list[Page]) -> str:
    """Agreement with people and with editors, and what a threshold drops of a crawl."""
    sites = {
        "uci.edu": [text for site, text in pages if site.endswith("uci.edu")],
        "all other sites": [text for site, text in pages if not site.endswith("uci.edu")],
    }
    crawl = []
    for name, texts in sites.items():
        scores = document_scores(model, texts)
        crawl.append(f"| {name} | {len(texts)} | {quantiles(scores)} |")
    return "\n".join(
        [
            *_people(model, data),
            "",
            *_editors(model, data),
            "",
            "## Scores of English crawl pages",
            "",
            "Part of these pages was trained on as the negative kind.",
            "",
            "| pages of | number | 5 % | 10 % | 20 % | 30 % | 50 % | 75 % | 90 % |",
            "|---|---|---|---|---|---|---|---|---|",
            *crawl,
            "",
            QUALITY_READING,
        ]
    )


def _people(model: Any, data: Path) -> list[str]:
    judged = list(rows(data / "quality/web_human_judged.jsonl.gz"))
    truth = np.array([row["label"] == 1 for row in judged])
    alike = np.array([bool(row["unanimous"]) for row in judged])
    lines = [one_line(row["text"]) for row in judged]
    ours = document_scores(model, lines)
    scorers = {
        "quality-en": ours,
        "number of words": np.array([float(len(line.split())) for line in lines]),
        "mean word length": np.array([float(np.mean([len(word) for word in line.split()])) for line in lines]),
    }
    table = []
    for name, scores in scorers.items():
        areas = [shown(evaluate_scores(scores[use], truth[use])) for use in (np.ones_like(alike), alike)]
        less = "" if scores is ours else _difference(*paired_difference(ours, scores, truth))
        table.append(f"| {name} | {areas[0]} | {areas[1]} | {less} |")
    return [
        "## Agreement with people",
        "",
        (
            f"{len(judged)} web documents judged by people (1 = worth keeping), never trained on; ROC area with 95 % "
            "interval; the last column is how much more quality-en has on all of them, paired by document, with the "
            "share of bootstrap draws in which it has not."
        ),
        "",
        f"| score | all {len(judged)} | the {int(alike.sum())} that were judged alike | quality-en has more |",
        "|---|---|---|---|",
        *table,
    ]


def _difference(found: Interval, not_better: float) -> str:
    return f"{found.value:.3f} ({found.low:.3f} to {found.high:.3f}), {not_better:.3f}"


def _editors(model: Any, data: Path) -> list[str]:
    articles = [
        row
        for row in rows(data / "quality/wikipedia_classes.jsonl.gz")
        # None of the other four classes was trained on; of the best two only the held-out articles count.
        if row["label"] not in ("fa", "ga") or is_held_out(f"wikipedia {row['id']}", fraction=QUALITY.held_out_fraction)
    ]
    grade = np.array([GRADES.index(row["label"]) for row in articles])
    whole = [one_line(row["text"]) for row in articles]
    prose_only = [one_line(prose(row["text"]) or row["text"]) for row in articles]
    first = [windows(line, words=QUALITY_WORDS)[0] for line in prose_only]
    lines = {"whole text": whole, "prose only": prose_only, f"its first {QUALITY_WORDS} words of prose": first}
    found = {name: document_scores(model, texts) for name, texts in lines.items()}
    found["number of words (no model)"] = np.array([float(line.count(" ") + 1) for line in whole])
    return [
        "## Agreement with Wikipedia's editors",
        "",
        (
            f"{len(articles)} articles that were not trained on, with the class that editors gave them "
            f"({' < '.join(GRADES)}): Spearman's rank correlation with 95 % bootstrap interval. Texts are cut at "
            "16,000 characters. Editors grade how complete an article is, and length says most about that."
        ),
        "",
        "| score of | rank correlation |",
        "|---|---|",
        *(f"| {name} | {_rank_correlation(scores, grade)} |" for name, scores in found.items()),
    ]


def _rank_correlation(scores: np.ndarray, grade: np.ndarray) -> str:
    random = np.random.default_rng(0)
    draws = []
    for _ in range(BOOTSTRAPS):
        chosen = random.integers(0, len(grade), len(grade))
        draws.append(spearmanr(scores[chosen], grade[chosen]).statistic)
    low, high = np.quantile(draws, [0.025, 0.975])
    return f"{spearmanr(scores, grade).statistic:.3f} ({low:.3f} to {high:.3f})"


QUALITY_SOURCE = f"""Label `hq`: paragraphs of Wikipedia's featured and good articles
(`quality/wikipedia_classes.jsonl.gz`, from Tomoya-Matsubara/Quality-assesment-of-Wikipedia-articles) and the news
articles of OneStopEnglish at all three reading levels (`quality/onestop_levels.jsonl.gz`). All other texts: main text
(resiliparse) of English pages of a real crawl (`crawl/assembled/*.warc.gz`), at most {PAGES_PER_SITE} pages of a
site, and {POSTS:,} posts each of OLID's tweets, the forum sentences and the Civil Comments under `toxicity/`. Articles
and pages are cut into equal pieces of about {QUALITY_WORDS} words, at most {PER_ARTICLE} of an article or page, so that
length, headings, markup and cut ends say nothing between them; posts are short, so very short texts count as raw.
The held-out part holds other articles and other sites."""
QUALITY_USE = """Scoring English documents of a web crawl by how much they read like edited reference text: the stage
`quality`. It ranks; its score is no probability that a page is good. It prefers the third person, whole sentences and
the topics of encyclopedias, and ranks forms, menus, lists of links, code, chatter and very short texts low; a good
recipe, poem or dialogue may score low as well. The crawl it learned from is mostly one university's. Measure what it
is worth to you (`tamis ablate`)."""
QUALITY_READING = """\
This paragraph is written by hand. The stage's default of 0.001 drops about a third of these pages (read off the
quantiles above); of the lowest fifth half hold at most fifteen words. Of the documents that people judged it drops 3 of
the 157 that are worth keeping and 12 of the 123 others. The posts joined the training after this model's figures
without them were known (0.777 on the judged documents), and the choice of two passes over four (0.850, but scores so
extreme that a third of all pages has 0.0000) as well: the judged documents are unseen, but not untouched by choice.
About twenty variants were compared by their figure on them, so the intervals above are optimistic, the paired too.

The model sees a document as the mean over its words. A manual of 594,166 bytes from a PDF had 0.0 because 25,198 of its
107,010 words were the dots between the titles and page numbers of its contents; they took 4.8 from a logit that is -0.8
without them. The stage counts a run of one mark once (`marks_once`), and the manual has 0.1994. ROC area on the judged
documents is 0.8435 with it and 0.8436 without. Scoring windows in place of the whole text was tried and left out: as
the mean over windows of 150 words ROC area is 0.812 (0.031 less, 0.012 to 0.052), of 300 words 0.837, of 600 words
0.843, and four manuals of 10,000 to 60,000 words fall from 0.27 to 0.91 on the whole to 0.05 to 0.43 in windows of 150:
it learned pieces of 150 words, but a longer text shows its kind better."""
