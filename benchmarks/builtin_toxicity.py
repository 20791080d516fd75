"""toxicity-en and toxicity-zh: their labels, cut so that no copy and no thread stands on both sides of a split."""

import dataclasses
import html
import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.builtin_data import Page, by_hash, digest, near_groups, prose, rows
from pipeline.classifier import Training, train
from pipeline.labels import Label
from pipeline.models import load_fasttext
from stages.fasttext_text import label_scores, one_line, windows
from stages.toxicity import ToxicitySettings

#: What the stage does to a text before it scores it.
SETTINGS = ToxicitySettings()
#: Offensive tweets used of the 16,920, so that one source does not set the tone.
MAX_DAVIDSON_TOXIC = 8_000
#: The hate sentences of the forum count three times: the rarest kind, and one that hardly uses swear words.
FORUM_REPEATS = 3
#: The only 350 Chinese texts that are not about the topics of COLD count ten times.
NEWS_REPEATS = 10
REPEATS = {("forum", True): FORUM_REPEATS, ("news", False): NEWS_REPEATS}
#: Crawl pages of other sites than the large one give more windows: they are few and differ more.
PER_PAGE = {True: 3, False: 10}
#: Models of the cross-validation.
FOLDS = 5
#: Sources with texts of both kinds, over which the mean ROC area is taken.
BOTH_KINDS = ("davidson", "olid", "forum")

TOXICITY = Training(
    dimension=8,  # one a label would be nine; 4 loses 0.06 of ROC area with a label a source, 12 gains nothing
    epochs=8,
    learning_rate=0.2,  # 0.1 and 0.5 lose 0.007
    min_count=20,  # 5 gains nothing, and takes the room that hash rows need
    min_characters=3,
    max_characters=5,  # 2 to 5 loses 0.003, 3 to 6 gains nothing
    hash_rows=74_000,
    lowercase=True,
    split_characters=True,
    quantise=False,  # costs 0.004 of ROC area and takes longer to score
    held_out_fraction=0.2,
)
TOXICITY_ZH = Training(
    dimension=4,
    epochs=4,
    learning_rate=0.2,
    min_count=2,
    word_ngrams=2,
    hash_rows=150_000,
    lowercase=True,
    split_characters=True,
    quantise=False,  # costs 0.004 of ROC area
    held_out_fraction=0.2,
)
POSITIVE = "toxic*"
LABEL = "__label__toxic*"


@dataclass(frozen=True, kw_only=True)
class Text:
    source: str
    text: str
    toxic: bool
    #: Texts of one group are never parted by a split: near duplicates, one thread, one comment, one article, one site.
    group: str
    #: The thread, comment, article or site itself.
    origin: str = ""


def plain(tweet: str) -> str:
    """A post without what only marks its platform."""
    tweet = re.sub(r"\bRT\b|@\w+:?|https?://\S+|\bURL\b", " ", html.unescape(tweet))
    return one_line(tweet.replace("#", " "))


def english_texts(data: Path, pages: list[Page]) -> list[Text]:
    """All labelled texts, and clean ones, with groups that hold copies across all sources together."""
    found = [*_labelled(data / "toxicity"), *_clean(data, pages)]
    groups = near_groups([each.text for each in found], [each.group for each in found])
    return [
        dataclasses.replace(each, group=group, origin=each.group) for each, group in zip(found, groups, strict=True)
    ]


def chinese_texts(data: Path) -> list[Text]:
    found = [
        Text(source=row["topic"], text=row["text"], toxic=row["label"] == 1, group=f"cold {number}")
        for number, row in enumerate(rows(data / "toxicity/cold_zh.jsonl.gz"))
    ]
    found += [
        Text(source="news", text=row["text"], toxic=False, group=f"news {number}")
        for number, row in enumerate(rows(data / "langid/sentences_75_languages.jsonl.gz"))
        if row["lang"] == "zh"
    ]
    groups = near_groups([each.text for each in found], [each.group for each in found], characters=True)
    return [
        dataclasses.replace(each, group=group, origin=each.group) for each, group in zip(found, groups, strict=True)
    ]


def _labelled(folder: Path) -> Iterator[Text]:
    for number, row in enumerate(rows(folder / "davidson_tweets.jsonl.gz")):
        text, toxic = plain(row["text"]), row["label"] != "neither"
        yield Text(source="davidson", text=text, toxic=toxic, group=f"davidson {number}")
    for number, row in enumerate(rows(folder / "olid_train.jsonl.gz")):
        yield Text(source="olid", text=plain(row["text"]), toxic=row["label"] == "OFF", group=f"olid {number}")
    for row in rows(folder / "whiteforum_sentences.jsonl.gz"):
        if row["label"] in ("hate", "noHate"):
            thread = f"forum {row['id'].split('_')[0]}"
            yield Text(source="forum", text=row["text"], toxic=row["label"] == "hate", group=thread)
    for number, row in enumerate(rows(folder / "civil_toxic_spans.jsonl.gz")):
        for text, toxic in _civil_sentences(row):
            yield Text(source="civil", text=text, toxic=toxic, group=f"civil {number}")


def _civil_sentences(row: dict[str, Any]) -> Iterator[tuple[str, bool]]:
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


def _clean(data: Path, pages: list[Page]) -> Iterator[Text]:
    """Edited text, and crawl pages without any word of the list of bad words."""

    def pieces(text: str, group: str, *, most: int) -> Iterator[Text]:
        cut = windows(one_line(text), words=SETTINGS.window_words)
        for piece in by_hash((piece for piece in cut if " " in piece), most=most):
            yield Text(source="clean", text=piece, toxic=False, group=group)

    for row in rows(data / "quality/wikipedia_classes.jsonl.gz"):
        yield from pieces(prose(row["text"]), f"wikipedia {row['id']}", most=40)
    for row in rows(data / "quality/onestop_levels.jsonl.gz"):
        yield from pieces(row["text"], f"onestop {row['title']}", most=20)
    for row in rows(data / "near_dup/news_articles.jsonl.gz"):
        yield from pieces(row["text"], f"news {row['id']}", most=6)
    bad_words = (data / "toxicity/word_lists/en.txt").read_text(encoding="utf-8").split("\n")
    bad = re.compile(r"\b(" + "|".join(re.escape(word) for word in bad_words if word) + r")\b", re.IGNORECASE)
    for site, text in pages:
        if not bad.search(text):
            yield from pieces(text, f"site {site}", most=PER_PAGE[site.endswith("uci.edu")])


def toxicity_labels(texts: Sequence[Text]) -> list[Label]:
    """`toxic_SOURCE` and `other_SOURCE`: what is toxic differs by source, and a model that may tell them apart learns
    each; its score is the sum over all that are toxic."""
    davidson = by_hash(
        (each.text for each in texts if each.source == "davidson" and each.toxic), most=MAX_DAVIDSON_TOXIC
    )
    used = set(davidson)
    labels = []
    for each in texts:
        if each.source == "davidson" and each.toxic and each.text not in used:
            continue
        label = Label(text=each.text, label=f"{'toxic' if each.toxic else 'other'}_{each.source}", group=each.group)
        labels += [label] * REPEATS.get((each.source, each.toxic), 1)
    return labels


def fold_of(group: str) -> int:
    return digest(group)[0] % FOLDS


def line_of(text: str) -> str:
    return one_line(text, lowercase=True, split_characters=True)


def fold_models(texts: Sequence[Text], options: Training) -> list[Any]:
    """A model for each fold, trained on the texts of the others."""
    models = []
    for number in range(FOLDS):
        seen = [each for each in texts if fold_of(each.group) != number]
        with tempfile.TemporaryDirectory() as folder:
            trained = train(
                toxicity_labels(seen),
                out=Path(folder) / "fold",
                positive=[POSITIVE],
                options=dataclasses.replace(options, held_out_fraction=0.0),
                licence="",
                source="",
                use="",
            )
            models.append(load_fasttext(trained.model))
    return models


def cross_validated(texts: Sequence[Text], models: Sequence[Any]) -> np.ndarray:
    """The score of each text by the model that saw nothing of its group."""
    scores = np.zeros(len(texts))
    folds = np.array([fold_of(each.group) for each in texts])
    for number, model in enumerate(models):
        places = np.flatnonzero(folds == number)
        scores[places] = label_scores(model, [line_of(texts[place].text) for place in places.tolist()], label=LABEL)
    return scores
