"""Trains the bundled models again from a folder of labelled data; the same data gives the same bytes.

    python -m benchmarks.train_builtin DATA [--out pipeline/builtin]

It writes quality-en and toxicity-en (.ftz and the card .md) and prints their sha256, which belong into
pipeline/models.py. DATA is laid out as the cards say; extraction of the crawl pages takes some seconds.
"""

import argparse
import dataclasses
import gzip
import hashlib
import html
import json
import re
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa
from fastwarc.warc import ArchiveIterator, WarcRecordType
from resiliparse.extract.html2text import extract_plain_text
from resiliparse.parse.encoding import bytes_to_str, detect_encoding

from pipeline.classifier import Training, is_held_out, train
from pipeline.labels import Label
from pipeline.metrics import Evaluation, evaluate_scores, roc_auc
from pipeline.models import builtin_path, load_fasttext
from stages import toxicity
from stages.fasttext_text import best_labels, label_scores, one_line, windows

#: Words in a text that quality-en learns from: long enough to show style, the same for both kinds, so that length and
#: cut ends say nothing.
QUALITY_WORDS = 150
MIN_QUALITY_WORDS = 40
#: Texts per edited article and per crawled page, so that long ones do not outweigh the rest.
PER_ARTICLE = 3
PER_PAGE = 3
#: Pages per site. uci.edu is most of the crawl: a cap keeps "is about computer science" from meaning "is raw".
PAGES_PER_SITE = 40

#: Words of a text for toxicity-en: what the stage scores at a time.
TOXICITY_WORDS = toxicity.ToxicitySettings().window_words
#: Offensive tweets used of the 16,920, so that one source does not set the tone.
MAX_DAVIDSON_TOXIC = 8_000
#: The 872 hate sentences of the forum count three times: the rarest kind, and one that hardly uses swear words.
FORUM_REPEATS = 3
#: Models of the cross-validation.
FOLDS = 5

QUALITY = Training(dimension=16, epochs=2, learning_rate=0.2, min_count=5, quantise=False)
TOXICITY = Training(
    dimension=4,  # as floats in 3 MB; 8 and 16 gain nothing over it
    epochs=5,
    learning_rate=0.2,
    min_count=5,
    min_characters=3,
    max_characters=5,
    hash_rows=100_000,
    lowercase=True,
    quantise=False,  # costs 0.01 of ROC area here
    held_out_fraction=0.2,
)

Page = tuple[str, str]  # site, text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, default=Path("pipeline/builtin"))
    arguments = parser.parse_args()
    data, out = arguments.data, arguments.out
    pages = english_pages(data)
    for trained in (
        train(
            quality_labels(data, pages),
            out=out / "quality-en",
            positive=["hq"],
            options=QUALITY,
            licence=LICENCE,
            source=QUALITY_SOURCE,
            use=QUALITY_USE,
            notes=lambda model: quality_notes(model, data, pages),
        ),
        train(
            toxicity_labels(data, pages),
            out=out / "toxicity-en",
            positive=["toxic"],
            options=TOXICITY,
            licence=LICENCE,
            source=TOXICITY_SOURCE,
            use=TOXICITY_USE,
            notes=lambda model: toxicity_notes(model, data, pages),
        ),
    ):
        print(f'    "{trained.model.stem}": "{trained.sha256}",  # {trained.model.stat().st_size} bytes')


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
    return labels


def toxicity_labels(data: Path, pages: list[Page]) -> list[Label]:
    labels = []
    for name, source in toxicity_sources(data).items():
        toxic = by_hash((text for text, is_toxic in source if is_toxic), most=MAX_DAVIDSON_TOXIC)
        toxic = toxic * (FORUM_REPEATS if name == "forum" else 1)
        labels += [Label(text=text, label="toxic", group=text) for text in toxic]
        labels += [Label(text=text, label="clean", group=text) for text, is_toxic in source if not is_toxic]
    return [*labels, *clean_labels(data, pages)]


def toxicity_sources(data: Path) -> dict[str, list[tuple[str, bool]]]:
    """(text, toxic?) of each labelled source, with what only marks its platform taken out."""
    folder = data / "toxicity"
    return {
        "davidson": [
            (plain(row["text"]), row["label"] != "neither") for row in rows(folder / "davidson_tweets.jsonl.gz")
        ],
        "olid": [(plain(row["text"]), row["label"] == "OFF") for row in rows(folder / "olid_train.jsonl.gz")],
        "forum": [
            (row["text"], row["label"] == "hate")
            for row in rows(folder / "whiteforum_sentences.jsonl.gz")
            if row["label"] in ("hate", "noHate")
        ],
        "civil": [pair for row in rows(folder / "civil_toxic_spans.jsonl.gz") for pair in civil_sentences(row)],
    }


def plain(tweet: str) -> str:
    tweet = re.sub(r"\bRT\b|@\w+:?|https?://\S+|\bURL\b", " ", html.unescape(tweet))
    return one_line(tweet.replace("#", " "))


def civil_sentences(row: dict[str, Any]) -> Iterator[tuple[str, bool]]:
    """The toxic comment, and each of its sentences: toxic if a marked span touches it. A comment without spans gives
    nothing: its readers disagreed."""
    marked = set(row["toxic_char_offsets"])
    if not marked:
        return
    yield row["text"], True
    for match in re.finditer(r"[^.!?\n]+[.!?\n]*", row["text"]):
        is_toxic = not marked.isdisjoint(range(*match.span()))
        if len(match.group().split()) >= (4 if is_toxic else 6):
            yield match.group(), is_toxic


def clean_labels(data: Path, pages: list[Page]) -> Iterator[Label]:
    """Edited text, and crawl pages without any word of the list of bad words."""

    def pieces(text: str, *, most: int) -> list[str]:
        return by_hash((piece for piece in windows(one_line(text), words=TOXICITY_WORDS) if " " in piece), most=most)

    for row in rows(data / "quality/wikipedia_classes.jsonl.gz"):
        for piece in pieces(prose(row["text"]), most=40):
            yield Label(text=piece, label="clean", group=f"wikipedia {row['id']}")
    for row in rows(data / "quality/onestop_levels.jsonl.gz"):
        for piece in pieces(row["text"], most=20):
            yield Label(text=piece, label="clean", group=f"onestop {row['title']}")
    for row in rows(data / "near_dup/news_articles.jsonl.gz"):
        for piece in pieces(row["text"], most=6):
            yield Label(text=piece, label="clean", group=f"news {row['id']}")
    bad_words = (data / "toxicity/word_lists/en.txt").read_text(encoding="utf-8").split("\n")
    bad = re.compile(r"\b(" + "|".join(re.escape(word) for word in bad_words if word) + r")\b", re.IGNORECASE)
    for site, text in pages:
        if not bad.search(text):
            for piece in pieces(text, most=PER_PAGE if site.endswith("uci.edu") else 10):
                yield Label(text=piece, label="clean", group=f"site {site}")


def shown(evaluation: Evaluation) -> str:
    area = evaluation.roc_auc
    return f"{area.value:.3f} ({area.low:.3f} to {area.high:.3f})"


def quantiles(scores: np.ndarray) -> str:
    return " | ".join(f"{value:.4f}" for value in np.quantile(scores, [0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 0.9]))


def quality_notes(model: Any, data: Path, pages: list[Page]) -> str:
    """Agreement with people, and what a threshold drops of a crawl."""
    judged = list(rows(data / "quality/web_human_judged.jsonl.gz"))
    lines = [one_line(row["text"]) for row in judged]
    scorers = {
        "quality-en": label_scores(model, lines, label="__label__hq"),
        "number of words": np.array([float(len(line.split())) for line in lines]),
        "mean word length": np.array([float(np.mean([len(word) for word in line.split()])) for line in lines]),
    }
    table = []
    for name, scores in scorers.items():
        areas = []
        for unanimous in (False, True):
            use = np.array([not unanimous or row["unanimous"] for row in judged])
            truth = np.array([row["label"] == 1 for row in judged])
            areas.append(shown(evaluate_scores(scores[use], truth[use])))
        table.append(f"| {name} | {areas[0]} | {areas[1]} |")
    sites = {
        "uci.edu": [text for site, text in pages if site.endswith("uci.edu")],
        "all other sites": [text for site, text in pages if not site.endswith("uci.edu")],
    }
    crawl = []
    for name, texts in sites.items():
        scores = label_scores(model, [one_line(text) for text in texts], label="__label__hq")
        crawl.append(f"| {name} | {len(texts)} | {quantiles(scores)} |")
    return "\n".join(
        [
            "## Agreement with people",
            "",
            "280 web documents judged by people (1 = worth keeping), never trained on; ROC area with 95 % interval.",
            "",
            "| score | all 280 | the 160 that were judged alike |",
            "|---|---|---|",
            *table,
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


def toxic_line(text: str) -> str:
    return one_line(text, lowercase=TOXICITY.lowercase)


def document_scores(model: Any, texts: list[str]) -> np.ndarray:
    table = pa.table({"text": pa.array(texts, pa.large_string())})
    scores: np.ndarray = toxicity.measure(table, toxicity.ToxicitySettings(), {"model": model})[0].to_numpy()
    return scores


def cross_validated(data: Path, pages: list[Page]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """For each source (scores, toxic?) of all its texts, each scored by a model that never saw its group: five models,
    each trained on four fifths."""

    def fold(group: str) -> int:
        return digest(group)[0] % FOLDS

    labels = toxicity_labels(data, pages)
    sources = toxicity_sources(data)
    parts: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {name: [] for name in sources}
    for number in range(FOLDS):
        seen = [each for each in labels if fold(each.group) != number]
        with tempfile.TemporaryDirectory() as folder:
            options = dataclasses.replace(TOXICITY, held_out_fraction=0.0)
            trained = train(
                seen, out=Path(folder) / "fold", positive=["toxic"], options=options, licence="", source="", use=""
            )
            model = load_fasttext(trained.model)
        for name, source in sources.items():
            unseen = [(text, is_toxic) for text, is_toxic in source if fold(text) == number]
            scores = label_scores(model, [toxic_line(text) for text, _ in unseen], label="__label__toxic")
            parts[name].append((scores, np.array([is_toxic for _, is_toxic in unseen])))
    return {name: (np.concatenate([s for s, _ in p]), np.concatenate([t for _, t in p])) for name, p in parts.items()}


def toxicity_notes(model: Any, data: Path, pages: list[Page]) -> str:
    """Areas by source on held-out texts, and how much clean text is flagged."""

    def held_out(group: str) -> bool:
        return is_held_out(group, fraction=TOXICITY.held_out_fraction)

    table, areas = [], []
    for name, (scores, truth) in cross_validated(data, pages).items():
        areas.append(roc_auc(scores, truth))
        table.append(f"| {name} | {len(truth)} | {int(truth.sum())} | {shown(evaluate_scores(scores, truth))} |")
    templates = list(rows(data / "toxicity/identity_templates.jsonl.gz"))
    truth = np.array([row["label"] == "BAD" for row in templates])
    scores = label_scores(model, [toxic_line(row["text"]) for row in templates], label="__label__toxic")
    table.append(
        f"| identity templates | {len(templates)} | {int(truth.sum())} | {shown(evaluate_scores(scores, truth))} |"
    )
    articles = list(rows(data / "quality/wikipedia_classes.jsonl.gz"))
    texts = {
        "Wikipedia articles, held out": [r["text"] for r in articles if held_out(f"wikipedia {r['id']}")],
        "Wikipedia articles, all": [r["text"] for r in articles],
        "news, held out": [
            r["text"] for r in rows(data / "near_dup/news_articles.jsonl.gz") if held_out(f"news {r['id']}")
        ],
        "uci.edu pages": [text for site, text in pages if site.endswith("uci.edu")],
        "other crawl pages, held-out sites": [
            text for site, text in pages if not site.endswith("uci.edu") and held_out(f"site {site}")
        ],
        "other crawl pages, all": [text for site, text in pages if not site.endswith("uci.edu")],
    }
    flagged = []
    for name, some in texts.items():
        found = document_scores(model, some)
        flagged.append(f"| {name} | {len(some)} | {int((found > 0.5).sum())} | {np.quantile(found, 0.99):.3f} |")
    return "\n".join(
        [
            "## ROC area by source",
            "",
            (
                f"Each text scored by one of {FOLDS} models of this kind that was not trained on it. Mean over the "
                "three English sources that have both kinds of their own (davidson, olid, forum): "
                f"{np.mean(areas[:3]):.3f}. The identity templates were never trained on; the bundled model scored "
                "them."
            ),
            "",
            "| source | texts | toxic | ROC area (95 % interval) |",
            "|---|---|---|---|",
            *table,
            "",
            "## Whole documents, as the stage scores them",
            "",
            "| documents | number | score above 0.5 | 99 % quantile |",
            "|---|---|---|---|",
            *flagged,
            "",
            TOXICITY_READING,
        ]
    )


LICENCE = (
    "The model files are released under CC BY-SA 4.0: they are derived from texts under CC BY-SA (Wikipedia, "
    "OneStopEnglish, the forum sentences), CC BY 4.0 (OLID), MIT (Davidson et al.) and from pages of public web sites, "
    "whose text cannot be read back from them."
)
QUALITY_SOURCE = f"""Label `hq`: paragraphs of Wikipedia's featured and good articles
(`quality/wikipedia_classes.jsonl.gz`, from Tomoya-Matsubara/Quality-assesment-of-Wikipedia-articles) and the news
articles of OneStopEnglish at all three reading levels (`quality/onestop_levels.jsonl.gz`). All other texts: main text
(resiliparse) of English pages of a real crawl (`crawl/assembled/*.warc.gz`), at most {PAGES_PER_SITE} pages of a
site. All cut into equal pieces of about {QUALITY_WORDS} words, at most {PER_ARTICLE} of an article or page, so that
length, headings, markup and cut ends say nothing. The held-out part holds other articles and other sites."""
QUALITY_USE = """Scoring English documents of a web crawl by how much they read like edited reference text: the stage
`quality`. It ranks; its score is no probability that a page is good. It prefers the third person, whole sentences and
the topics of encyclopedias, and ranks forms, menus, lists of links, code and forum chatter low; a good recipe, poem
or dialogue may score low as well. The crawl it learned from is mostly one university's. Measure what it is worth to
you (`tamis ablate`)."""
QUALITY_READING = """The stage's default of 0.005 drops about a fifth of these pages. Fourteen of those dropped (50
words and more) were read: generated tables of a gene browser, log-in forms, lists of offices, of talks and of forum
threads, C++ source, empty templates; one, a course page, was a loss."""
TOXICITY_SOURCE = f"""Label `toxic`: tweets judged hateful or offensive (Davidson et al. 2017, at most
{MAX_DAVIDSON_TOXIC:,}; OLID 2019), sentences of a white supremacist forum judged hateful (Vicomtech 2018, each
{FORUM_REPEATS} times), toxic comments and their toxic sentences (SemEval-2021 task 5, Civil Comments). All other texts:
the rest of the same sources, and windows of {TOXICITY_WORDS} words of Wikipedia articles, OneStopEnglish, news
(`near_dup/news_articles.jsonl.gz`) and crawl pages that hold no word of a list of bad words (LDNOOBW)."""
TOXICITY_USE = """Finding English documents full of abuse, slurs and profanity in a web crawl: the stage `toxicity`. It
reacts to profanity also where nobody is insulted, misses abuse in polite words, and carries its annotators' bias
(African American English among the tweets is judged offensive too often). Not for judging people or single posts."""
TOXICITY_READING = """The twenty crawl pages with the highest scores were read. Three are what the model is for, or
near it: two pages of a housekeeping site written in profanity (0.67, 0.59) and a chat thread with swearing (0.40).
One above 0.5 is wrong: an index of single letters (0.64). The rest, all below 0.43, are harmless: sports shoes,
recipes, gossip about violence and divorce, a forum on glass pipes, game chat, puzzles about losers and probabilities
of disease. No hateful page was among them: this crawl has hardly any, so the share of toxic pages that the stage
finds on a real crawl is not known. Above 0.5 precision is fair (2 of 3 here); below 0.45 it is poor."""

if __name__ == "__main__":
    main()
