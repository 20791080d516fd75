"""What the cards of toxicity-en and toxicity-zh say of them: areas by source, what is flagged, and who pays for it."""

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.builtin_data import Page, rows, shown
from benchmarks.builtin_toxicity import (
    BOTH_KINDS,
    FOLDS,
    FORUM_REPEATS,
    LABEL,
    MAX_DAVIDSON_TOXIC,
    SETTINGS,
    Text,
    cross_validated,
    fold_of,
    line_of,
)
from pipeline.metrics import evaluate_scores, roc_auc
from stages import toxicity
from stages.fasttext_text import label_scores

#: The identity terms of the templates, by what they are about.
IDENTITIES = {
    "religion": ("buddhist", "catholic", "christian", "jewish", "muslim", "protestant", "sikh", "taoist"),
    "orientation and gender identity": (
        "bisexual", "gay", "heterosexual", "homosexual", "lesbian", "lgbt", "lgbtq", "nonbinary", "queer", "straight",
        "trans", "transgender",
    ),
    "gender": ("female", "male"),
    "origin and colour": (
        "african", "african american", "american", "asian", "black", "canadian", "chinese", "european", "hispanic",
        "indian", "japanese", "latina", "latino", "latinx", "mexican", "middle eastern", "white",
    ),
    "age": ("aged", "elderly", "middle aged", "millenial", "old", "older", "teenage", "young", "younger"),
    "disability": ("blind", "deaf", "paralyzed"),
}  # fmt: skip


def document_scores(model: Any, texts: Sequence[str]) -> np.ndarray:
    table = pa.table({"text": pa.array(list(texts), pa.large_string())})
    measured: np.ndarray = toxicity.measure(table, SETTINGS, {"model": model})["toxicity_score"].to_numpy()
    return measured


def english_notes(model: Any, data: Path, pages: list[Page], texts: Sequence[Text], models: Sequence[Any]) -> str:
    """Areas by source on texts that a model has not seen, what is flagged of clean text, and identity terms."""
    scores = cross_validated(texts, models)
    table, areas, flagged_texts = [], {}, []
    for name in (*BOTH_KINDS, "civil"):
        place = np.array([each.source == name for each in texts])
        found, truth = scores[place], np.array([each.toxic for each in texts])[place]
        areas[name] = roc_auc(found, truth)
        table.append(f"| {name} | {len(truth)} | {int(truth.sum())} | {shown(evaluate_scores(found, truth))} |")
        over = found > SETTINGS.max_score
        flagged_texts.append(f"| {name} | {over[truth].mean():.3f} | {over[~truth].mean():.3f} |")
    comments = [row["text"] for row in rows(data / "toxicity/civil_toxic_spans.jsonl.gz") if row["toxic_char_offsets"]]
    comment = dict(zip((each.text for each in texts), scores.tolist(), strict=True))
    recall = float(np.mean([comment[text] > SETTINGS.max_score for text in comments]))
    return "\n".join(
        [
            "## ROC area by source",
            "",
            (
                f"Each text scored by one of {FOLDS} models of this kind that saw neither it nor a near duplicate, nor "
                "anything else of its thread or comment. Mean over the three English sources that have both kinds of "
                f"their own ({', '.join(BOTH_KINDS)}): **{np.mean([areas[name] for name in BOTH_KINDS]):.3f}**."
            ),
            "",
            "| source | texts | toxic | ROC area (95 % interval) |",
            "|---|---|---|---|",
            *table,
            "",
            (
                f"At the stage's threshold of {SETTINGS.max_score}, which is set by what it flags of clean text: "
                f"recall {recall:.3f} on the {len(comments):,} whole comments of the source that has toxic comments "
                "only (civil); by source, its sentences included:"
            ),
            "",
            "| source | of the toxic texts flagged | of the others flagged |",
            "|---|---|---|",
            *flagged_texts,
            "",
            *_documents(model, data, pages, texts, models),
            "",
            *_identities(model, data),
            "",
            TOXICITY_READING,
        ]
    )


def _documents(model: Any, data: Path, pages: list[Page], texts: Sequence[Text], models: Sequence[Any]) -> list[str]:
    fold = {each.origin: fold_of(each.group) for each in texts}
    documents = {
        "Wikipedia articles": [
            (f"wikipedia {row['id']}", row["text"]) for row in rows(data / "quality/wikipedia_classes.jsonl.gz")
        ],
        "news": [(f"news {row['id']}", row["text"]) for row in rows(data / "near_dup/news_articles.jsonl.gz")],
        "uci.edu pages": [(f"site {site}", text) for site, text in pages if site.endswith("uci.edu")],
        "other crawl pages": [(f"site {site}", text) for site, text in pages if not site.endswith("uci.edu")],
    }
    lines = []
    for name, some in documents.items():
        bundled = document_scores(model, [text for _, text in some])
        unseen = np.zeros(len(some))
        # What gave no clean window (a page with a bad word, an article of lists) no model has seen: any will do.
        folds = np.array([fold.get(origin, 0) for origin, _ in some])
        for number, each in enumerate(models):
            places = np.flatnonzero(folds == number)
            unseen[places] = document_scores(each, [some[place][1] for place in places.tolist()])
        flagged = [int((scores > SETTINGS.max_score).sum()) for scores in (unseen, bundled)]
        lines.append(
            f"| {name} | {len(some)} | {flagged[0]} ({flagged[0] / len(some):.2%}) | {flagged[1]} "
            f"| {np.quantile(unseen, 0.99):.3f} |"
        )
    return [
        "## Whole documents, as the stage scores them",
        "",
        (
            f"Each by one of the {FOLDS} models, which has seen nothing of the article or site; in the fourth column "
            "by the bundled model, which was trained on windows of most of them as clean ones."
        ),
        "",
        f"| documents | number | score above {SETTINGS.max_score} | by the bundled model | 99 % quantile |",
        "|---|---|---|---|---|",
        *lines,
    ]


def _identities(model: Any, data: Path) -> list[str]:
    templates = list(rows(data / "toxicity/identity_templates.jsonl.gz"))
    truth = np.array([row["label"] == "BAD" for row in templates])
    scores = label_scores(model, [line_of(row["text"]) for row in templates], label=LABEL)
    terms = sorted((term for group in IDENTITIES.values() for term in group), key=len, reverse=True)
    named = re.compile(r"\b(" + "|".join(terms) + r")\b")
    places: defaultdict[str, list[int]] = defaultdict(list)
    for place, row in enumerate(templates):
        match = named.search(row["text"].lower())
        places[match.group() if match else ""].append(place)

    def line(name: str, chosen: Sequence[int]) -> str:
        good, found = truth[list(chosen)], scores[list(chosen)] > SETTINGS.max_score
        if not chosen or good.all() or not good.any():
            return f"| {name} | {len(chosen)} | | |"
        return f"| {name} | {len(chosen)} | {found[~good].mean():.3f} | {found[good].mean():.3f} |"

    groups = {name: [place for term in group for place in places[term]] for name, group in IDENTITIES.items()}
    groups["no identity (occupations)"] = places[""]
    clean_rate = {
        term: float((scores[places[term]] > SETTINGS.max_score)[~truth[places[term]]].mean())
        for group in IDENTITIES.values()
        for term in group
        if (~truth[places[term]]).any()
    }
    worst = sorted(clean_rate, key=lambda term: (-clean_rate[term], term))[:8]
    return [
        "## Identity terms",
        "",
        (
            f'{len(templates):,} template sentences ("Ziv is a excellent young", "i hate gay"), never trained on: ROC '
            f"area {shown(evaluate_scores(scores, truth))}. Share flagged above {SETTINGS.max_score}, by the group "
            "named:"
        ),
        "",
        "| group | sentences | false positive rate (harmless ones) | recall (abusive ones) |",
        "|---|---|---|---|",
        *(line(name, chosen) for name, chosen in groups.items()),
        line("all", range(len(templates))),
        "",
        "Terms with the highest false positive rates: "
        + ", ".join(f"{term} {clean_rate[term]:.2f}" for term in worst)
        + ".",
    ]


def chinese_notes(texts: Sequence[Text], models: Sequence[Any]) -> str:
    """Areas by topic, and how much of Chinese news is flagged."""
    scores, truth = cross_validated(texts, models), np.array([each.toxic for each in texts])
    sources = np.array([each.source for each in texts])
    posts = sources != "news"
    evaluation = evaluate_scores(scores[posts], truth[posts])
    table = [f"| all | {int(posts.sum())} | {int(truth.sum())} | {shown(evaluation)} |"]
    for name in sorted(set(sources[posts].tolist())):
        place = sources == name
        table.append(
            f"| {name} | {int(place.sum())} | {int(truth[place].sum())} "
            f"| {shown(evaluate_scores(scores[place], truth[place]))} |"
        )
    flagged = int((scores[~posts] > SETTINGS.max_score).sum())
    over = scores[posts] > SETTINGS.max_score
    offensive = truth[posts]
    return "\n".join(
        [
            "## ROC area by topic",
            "",
            f"Each post scored by one of {FOLDS} models of this kind that saw neither it nor a near duplicate.",
            "",
            "| topic | posts | offensive | ROC area (95 % interval) |",
            "|---|---|---|---|",
            *table,
            "",
            (
                f"Above {SETTINGS.max_score} are {over[offensive].mean():.3f} of the offensive posts, "
                f"{over[~offensive].mean():.3f} of the others, and {flagged} of {int((~posts).sum())} Chinese news "
                "sentences, which were likewise unseen by the model that scored them."
            ),
            "",
            CHINESE_READING,
        ]
    )


TOXICITY_SOURCE = f"""Labels `toxic_SOURCE`: tweets judged hateful or offensive (davidson: Davidson et al. 2017, at most
{MAX_DAVIDSON_TOXIC:,}; olid: OLID 2019), sentences of a white supremacist forum judged hateful (forum: Vicomtech 2018,
each {FORUM_REPEATS} times), toxic comments and their toxic sentences (civil: SemEval-2021 task 5, Civil Comments).
Labels `other_SOURCE`: the rest of the same sources, and as `other_clean` windows of {SETTINGS.window_words} words of
Wikipedia articles, OneStopEnglish, news (`near_dup/news_articles.jsonl.gz`) and crawl pages that hold no word of a list
of bad words (LDNOOBW). Near duplicates (Jaccard similarity of word trigrams from 0.5), sentences of one thread and of
one comment, windows of one article and of one site are one group. The score is the sum over all `toxic_` labels: what
counts as toxic differs by source, and one label for all loses 0.012 of mean ROC area
(0.870 against 0.882, on one fold of the five)."""
TOXICITY_USE = """Finding English documents full of abuse, slurs and profanity in a web crawl: the stage `toxicity`. It
reacts to profanity also where nobody is insulted, misses abuse in polite words, and carries its annotators' bias
(African American English among the tweets is judged offensive too often). Not for judging people or single posts."""
TOXICITY_READING = """\
The next paragraphs are written by hand. Of the twenty crawl pages with the highest scores (0.70 to 0.35) the first 230
characters of the most toxic paragraph were read, not the whole page. Of the eight above 0.5 four are what the model is
for, or near it: two pages of a housekeeping site written in profanity, a chat with swearing, a game forum with
swearing. One is a list of gossip headlines about a sex tape and a suicide. Three are wrong: a forum on glass pipes,
mailing list news about Debian, a page about software versions. The twelve below 0.5 are harmless: a shop's feedback,
recipes, a parenting blog, variables of a shop's script, exercises, an index of letters. No hateful page was among them:
this crawl has hardly any, so the share of toxic pages that the stage finds on a real crawl is not known. Above 0.5 half
were right; below it hardly any. Twenty pages flagged on another crawl were read whole since (docs/judging.md): 17 are
wrong, among them program code, exercises with bars of asterisks and rows of single letters.

About 35 configurations were compared by their mean on folds 0 and 1 of the five over which the mean above is taken, so
it is slightly optimistic.

Against the model before it (one label for all sources, texts of one thread on both sides of the split) mean ROC area
rose from 0.875 to 0.884 on a stricter split. It cost something: the identity templates fall from 0.913 to 0.885, and
harmless sentences that name gay, queer or transgender people are flagged far too often. Words about them stand in much
abuse and in little of the clean text."""
CHINESE_SOURCE = """COLD (`toxicity/cold_zh.jsonl.gz`, thu-coai/COLDataset): Chinese posts on race, region and gender,
labelled offensive or not; labels `toxic_TOPIC` and `other_TOPIC`. As `other_news` 350 news sentences
(`langid/sentences_75_languages.jsonl.gz`, Leipzig Wortschatz), each ten times: without them 38 of the 350 scored above
0.5, in the first run of this training. Each Han character is a word, pairs of them are features. Near duplicates are
one group."""
CHINESE_USE = """Finding offensive Chinese text in a web crawl: the stage `toxicity` with `model: builtin/toxicity-zh`,
behind a language stage that keeps Chinese. It knows offence about race, region and gender from posts on these topics;
naming a group already raises the score. Not for judging people or single posts."""
CHINESE_READING = """\
COLD's offensive and other posts are on the same three topics, so the area says how well it tells them apart there; on
other topics, and on whole Chinese web pages, nothing was measured. A tenth of the harmless posts is flagged at 0.5."""
