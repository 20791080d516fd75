"""Language identification of a document by a fastText model, by default lid.176.

Sources: Joulin et al. 2016, "Bag of Tricks for Efficient Text Classification"; the 0.65 of RefinedWeb (Penedo et al.
2023, section 3.1), which FineWeb and DCLM use as well.
"""

from collections.abc import Mapping
from itertools import islice
from typing import Any, Self

import numpy as np
import pyarrow as pa
from pydantic import model_validator

from stages.fasttext_text import best_labels, model_resource, one_line
from stages.stage import Resource, Rule, Settings, Stage, place, setting, threshold, verdicts

UNKNOWN = "unknown"

#: What lid.176 can answer: ISO 639-1 codes, 639-3 where there is none, and a few of Wikipedia's own (als, eml, nah).
_LID_176_CODES = """
    af als am an ar arz as ast av az azb ba bar bcl be bg bh bn bo bpy br bs bxr ca cbk ce ceb ckb co cs cv cy da de
    diq dsb dty dv el eml en eo es et eu fa fi fr frr fy ga gd gl gn gom gu gv he hi hif hr hsb ht hu hy ia id ie ilo
    io is it ja jbo jv ka kk km kn ko krc ku kv kw ky la lb lez li lmo lo lrc lt lv mai mg mhr min mk ml mn mr mrj ms
    mt mwl my myv mzn nah nap nds ne new nl nn no oc or os pa pam pfl pl pms pnb ps pt qu rm ro ru rue sa sah sc scn
    sco sd sh si sk sl so sq sr su sv sw ta te tg th tk tl tr tt tyv ug uk ur uz vec vep vi vls vo wa war wuu xal xmf
    yi yo yue zh
"""
LID_176 = frozenset(_LID_176_CODES.split())


class LanguageSettings(Settings):
    model: str = place("builtin/lid.176", "`builtin/NAME` or the path of a fastText model whose labels are languages")
    sha256: str | None = place(
        None, "sha256 of a model file of your own, 64 hex digits; refused if it differs", pattern="^[0-9a-f]{64}$"
    )
    min_letters: int = setting(
        25,
        "letters (any script) below which the language is `unknown` with score 0. Measured on words and sentences of "
        "66 languages: of the answers that score 0.65, 67 % are right at 5 to 9 Latin letters, 89 % at 25 to 29, 96 % "
        "from 30",
        ge=0,
    )
    max_characters: int = setting(
        5_000,
        "characters, white space collapsed, that are read of a document. Half of a crawl's text lies behind them; "
        "reading it changed 1 in 2,000 languages of 5,418 pages, and 1 in 300 verdicts, all of scores near 0.65",
        ge=100,
    )
    keep: tuple[str, ...] = threshold(
        ("en",), "languages to keep, as the model names them; `unknown` keeps what is too short to tell", min_length=1
    )
    min_score: float = threshold(
        0.65, "probability of the language below which a document is dropped; 0.65 is RefinedWeb's", ge=0, le=1
    )

    @model_validator(mode="after")
    def _languages_exist(self) -> Self:
        """A misspelt code would drop everything, so codes are checked where the model's are known."""
        if self.model == "builtin/lid.176":
            for code in self.keep:
                if code not in LID_176 and code != UNKNOWN:
                    raise ValueError(f"keep: lid.176 knows no language {code!r}; it uses codes such as en, de, zh")
        return self


ADDS = pa.schema(
    [
        # The likeliest language as the model names it, or `unknown`.
        pa.field("language", pa.string(), nullable=False),
        # The model's probability for it, 0 to 1; 0 for `unknown`.
        pa.field("language_score", pa.float64(), nullable=False),
    ]
)


def measure(docs: pa.Table, settings: LanguageSettings, resources: Mapping[str, Any]) -> pa.Table:
    """ADDS for each document. Its beginning is read as one line, so a mixed page gets its main language."""
    lines = [one_line(text)[: settings.max_characters] for text in docs["text"].to_pylist()]
    languages, scores = best_labels(resources["model"], lines)
    for row, line in enumerate(lines):
        if not languages[row] or not _has_letters(line, at_least=settings.min_letters):
            languages[row], scores[row] = UNKNOWN, 0.0
    return pa.table([pa.array(languages, pa.string()), pa.array(scores)], schema=ADDS)


def judge(docs: pa.Table, settings: LanguageSettings) -> pa.Table:
    """Drops languages that are not in `keep`, then those found with less than `min_score`."""
    languages = docs["language"].to_pylist()
    scores = docs["language_score"].to_numpy()
    kept = np.fromiter((language in settings.keep for language in languages), dtype=bool, count=len(languages))
    unknown = np.fromiter((language == UNKNOWN for language in languages), dtype=bool, count=len(languages))
    detail = [f"found {language}; kept are {', '.join(settings.keep)}" for language in languages]
    return verdicts(
        [
            Rule(reason="language", passes=kept, measured=scores, detail=detail),
            Rule(
                reason="language",
                passes=(scores >= settings.min_score) | unknown,
                measured=scores,
                threshold=settings.min_score,
                detail=[f"found {language}, but not surely enough" for language in languages],
            ),
        ],
        docs.num_rows,
    )


def resources(settings: LanguageSettings) -> tuple[Resource, ...]:
    return model_resource(reference=settings.model, sha256=settings.sha256)


def _has_letters(line: str, *, at_least: int) -> bool:
    """Whether the line has so many letters; reads no further than it needs."""
    return sum(1 for _ in islice(filter(str.isalpha, line), at_least)) == at_least


STAGE = Stage(
    name="language",
    settings=LanguageSettings,
    adds=ADDS,
    measure=measure,
    judge=judge,
    judges=("language", "language_score"),
    resources=resources,
    libraries=("fasttext-community",),
    modules=("stages.fasttext_text",),
)
