"""Language identification of a document by a fastText model, by default lid.176; on request a second opinion.

The second opinion is py3langid (Lui and Baldwin 2012, "langid.py", trained anew by Adrien Barbaresi): naive Bayes over
byte n-grams, so that its mistakes are others than those of a model of words. It reads 2 MB a second;
lid.176, of pages, some 12.

Sources: Joulin et al. 2016, "Bag of Tricks for Efficient Text Classification"; the 0.65 of RefinedWeb (Penedo et al.
2023, section 3.1), which FineWeb and DCLM use as well.
"""

from collections.abc import Mapping
from itertools import islice
from typing import Any, Literal, Self

import numpy as np
import pyarrow as pa
from pydantic import model_validator

from stages.fasttext_text import model_resource, one_line, top_labels
from stages.schema import SCORE_DECIMALS
from stages.scripts import other_script_fraction
from stages.stage import Resource, Rule, Settings, Stage, place, setting, threshold, verdicts

UNKNOWN = "unknown"

#: Labels that mean one language: what the second identifier (left) and lid.176 (right) call it. Bokmål is what nearly
#: all Norwegian text is, so lid.176 calls it by Norwegian's code; both keep Nynorsk (nn) apart.
SAME_LANGUAGE = {"nb": "no", "fil": "tl", "iw": "he", "cmn": "zh"}
#: Answers that are stored of a document.
_TOP = 3
#: Characters that the second identifier reads of a document: it adds up evidence and is sure long before.
_SECOND_CHARACTERS = 1_000

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
    second: Literal["py3langid"] | None = setting(
        None, "a second identifier that is asked as well; null: `second_language` stays null"
    )
    keep: tuple[str, ...] = threshold(
        ("en",), "languages to keep, as the model names them; `unknown` keeps what is too short to tell", min_length=1
    )
    min_score: float = threshold(
        0.65, "probability of the language below which a document is dropped; 0.65 is RefinedWeb's", ge=0, le=1
    )
    max_other_script_fraction: float = threshold(
        1.0,
        "share of a document's letters that may be of another script than its commonest; 1 lets all pass",
        ge=0,
        le=1,
    )
    must_agree: bool = threshold(False, "whether documents on whose language `second` disagrees are dropped")

    @model_validator(mode="after")
    def _languages_exist(self) -> Self:
        """A misspelt code would drop everything, so codes are checked where the model's are known."""
        if self.must_agree and self.second is None:
            raise ValueError("must_agree needs `second: py3langid`")
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
        # The three likeliest with their probabilities, best first: `en 0.91, de 0.05`. Empty for `unknown`.
        pa.field("language_top", pa.string(), nullable=False),
        # Share of the letters that are not of the text's commonest script (stages/scripts.py), 0 to 1.
        pa.field("other_script_fraction", pa.float64(), nullable=False),
        # What the second identifier says, in lid.176's codes; null if none was asked or the text is `unknown`.
        pa.field("second_language", pa.string()),
        # Its probability; 0 where it was not asked.
        pa.field("second_language_score", pa.float64(), nullable=False),
    ]
)


def measure(docs: pa.Table, settings: LanguageSettings, resources: Mapping[str, Any]) -> pa.Table:
    """ADDS for each document. Its beginning is read as one line, so a mixed page gets its main language."""
    lines = [one_line(text)[: settings.max_characters] for text in docs["text"].to_pylist()]
    rows = []
    for line, top in zip(lines, top_labels(resources["model"], lines, count=_TOP), strict=True):
        known = bool(top) and _has_letters(line, at_least=settings.min_letters)
        language, score = top[0] if known else (UNKNOWN, 0.0)
        second, second_score = _second(resources, line) if known and settings.second else (None, 0.0)
        named = ", ".join(f"{label} {probability:.4g}" for label, probability in top) if known else ""
        rows.append((language, score, named, other_script_fraction(line), second, second_score))
    columns = zip(*rows, strict=True) if rows else [()] * len(ADDS)
    return pa.table([pa.array(c, field.type) for c, field in zip(columns, ADDS, strict=True)], schema=ADDS)


def _second(resources: Mapping[str, Any], line: str) -> tuple[str, float]:
    language, probability = resources["second"].classify(line[:_SECOND_CHARACTERS])
    return SAME_LANGUAGE.get(language, language), round(min(1.0, float(probability)), SCORE_DECIMALS)


def judge(docs: pa.Table, settings: LanguageSettings) -> pa.Table:
    """Drops languages that are not in `keep`, those found with less than `min_score`, and what else was asked for."""
    languages = docs["language"].to_pylist()
    scores = docs["language_score"].to_numpy()
    kept = np.fromiter((language in settings.keep for language in languages), dtype=bool, count=len(languages))
    unknown = np.fromiter((language == UNKNOWN for language in languages), dtype=bool, count=len(languages))
    second = docs["second_language"].to_pylist()
    other = docs["other_script_fraction"].to_numpy()
    agree = np.fromiter(
        (not settings.must_agree or one == two for one, two in zip(languages, second, strict=True)),
        dtype=bool,
        count=len(languages),
    )
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
            Rule(
                reason="language",
                passes=agree | unknown,
                measured=scores,
                detail=[
                    f"found {one}, the second identifier {two}" for one, two in zip(languages, second, strict=True)
                ],
            ),
            Rule(
                reason="other_script",
                passes=other <= settings.max_other_script_fraction,
                measured=other,
                threshold=settings.max_other_script_fraction,
            ),
        ],
        docs.num_rows,
    )


def resources(settings: LanguageSettings) -> tuple[Resource, ...]:
    second = Resource(name="second", kind="py3langid", reference="builtin/py3langid")
    return (*model_resource(reference=settings.model, sha256=settings.sha256), *((second,) if settings.second else ()))


def _has_letters(line: str, *, at_least: int) -> bool:
    """Whether the line has so many letters; reads no further than it needs."""
    return sum(1 for _ in islice(filter(str.isalpha, line), at_least)) == at_least


STAGE = Stage(
    name="language",
    settings=LanguageSettings,
    adds=ADDS,
    measure=measure,
    judge=judge,
    judges=("language", "language_score", "second_language", "other_script_fraction"),
    resources=resources,
    libraries=("fasttext-community", "py3langid"),
    modules=("stages.fasttext_text", "stages.scripts"),
)
