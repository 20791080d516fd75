"""Words in scripts that write no space between them: one a letter, or as a packaged segmenter cuts them.

Without `segmenters` each letter of such a script is a word (stages/words.py): fast, the same everywhere, and right for
n-grams of characters, but a count of words is a count of characters then. With them

- `rjieba` (jieba's dictionary of Chinese words and its hidden Markov model, in Rust) cuts runs of Han;
- `fugashi` (MeCab with the dictionary unidic-lite) cuts runs of Han and kana in Japanese texts: those in which kana are
  at least a twentieth of the letters without spaces. Chinese names of Japanese things stay below, Japanese prose has
  half; without `fugashi` such a text is cut letter by letter, also its Han;
- `pythainlp` (its dictionary and the algorithm newmm) cuts runs of Thai.

Everything else is as ever. The packages are extras (`pip install 'tamis[segment]'`); their versions enter the key.
"""

import importlib
import importlib.util
import re
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import Any, Final, Literal, Self

import numpy as np
import pyarrow as pa
from pydantic import model_validator

from stages import words
from stages.rules import RuleSettings
from stages.stage import setting

Segmenter = Literal["rjieba", "fugashi", "pythainlp"]
#: What each segmenter needs: modules that can be imported, and their distributions.
_MODULES: Final[dict[str, tuple[str, ...]]] = {
    "rjieba": ("rjieba",),
    "fugashi": ("fugashi", "unidic_lite"),
    "pythainlp": ("pythainlp",),
}
_DISTRIBUTIONS: Final[dict[str, tuple[str, ...]]] = {
    "rjieba": ("rjieba",),
    "fugashi": ("fugashi", "unidic-lite"),
    "pythainlp": ("pythainlp",),
}

_HAN: Final = "\u3005-\u3007\u3021-\u3029\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_KANA: Final = "\u3031-\u3035\u303b\u3041-\u30ff\u31f0-\u31ff\uff66-\uff9f\U0001aff0-\U0001b16f"
_THAI: Final = "\u0e01-\u0e3a\u0e40-\u0e4e"
_OTHER: Final = "\u0e4f-\u0eff\u1000-\u109f\u1780-\u17ff\u3105-\u312f\u31a0-\u31bf"
_RUN: Final = re.compile(rf"(?P<east>[{_HAN}{_KANA}]+)|(?P<thai>[{_THAI}]+)|(?P<other>[{_OTHER}]+)")
_KANA_LETTER: Final = re.compile(f"[{_KANA}]")
_EAST_LETTER: Final = re.compile(f"[{_HAN}{_KANA}]")
#: Share of kana from which a text is Japanese.
_JAPANESE: Final = 0.05
#: Characters of a run that a segmenter is given at once. No sentence is longer, and their time may grow faster than it.
_RUN_CHARACTERS: Final = 1000


class WordSettings(RuleSettings):
    """Settings of a stage that counts words."""

    segmenters: tuple[Segmenter, ...] = setting(
        (),
        "Packages that cut Chinese (rjieba), Japanese (fugashi) and Thai (pythainlp) into words; without one, each "
        "letter of these scripts is a word. Stages that share a measure should name the same ones.",
    )

    @model_validator(mode="after")
    def _segmenters_are_installed(self) -> Self:
        for name in self.segmenters:
            missing = [module for module in _MODULES[name] if importlib.util.find_spec(module) is None]
            if missing:
                raise ValueError(
                    f"segmenters: {name} needs the package {missing[0]}, which is not installed: "
                    "pip install 'tamis[segment]', or leave it out to count letters as words"
                )
        return self


def chosen_libraries(settings: WordSettings) -> tuple[str, ...]:
    """The distributions whose versions decide what a word is."""
    return tuple(package for name in settings.segmenters for package in _DISTRIBUTIONS[name])


Words = tuple[np.ndarray, np.ndarray, np.ndarray]


def word_text(column: Any, segmenters: Iterable[str]) -> Words:
    """The texts as `find_words` is to read them: bytes, offsets (as words.utf8 gives them), and kinds of characters.

    With segmenters, words.SEPARATOR stands around the words of scripts without spaces, and their letters join like
    any others.
    """
    chosen = frozenset(segmenters)
    kinds, _ = words.character_table()
    if not chosen:
        return *words.utf8(column), kinds
    texts = column.to_pylist()
    cut = [_cut(text, chosen) if text and not text.isascii() else text for text in texts]
    return *words.utf8(pa.array(cut, pa.large_string())), words.joined_kinds()


def _cut(text: str, segmenters: frozenset[str]) -> str:
    return _RUN.sub(_replacer(text, segmenters), text)


def _replacer(text: str, segmenters: frozenset[str]) -> Callable[[re.Match[str]], str]:
    east = len(_EAST_LETTER.findall(text))
    japanese = east > 0 and len(_KANA_LETTER.findall(text)) >= _JAPANESE * east
    eastern = "fugashi" if japanese else "rjieba"
    by_group = {"east": eastern, "thai": "pythainlp", "other": ""}

    def replace(match: re.Match[str]) -> str:
        name = by_group[match.lastgroup or "other"]
        pieces = _pieces(match[0], name) if name in segmenters else _letters(match[0])
        return words.SEPARATOR + words.SEPARATOR.join(pieces) + words.SEPARATOR

    return replace


def _pieces(run: str, name: str) -> Iterator[str]:
    cut = _segmenter(name)
    for start in range(0, len(run), _RUN_CHARACTERS):
        yield from cut(run[start : start + _RUN_CHARACTERS])


def _letters(run: str) -> list[str]:
    """Each letter with its marks."""
    kinds, _ = words.character_table()
    pieces: list[str] = []
    for character in run:
        if pieces and kinds[ord(character)] & words.KIND == words.MARK:
            pieces[-1] += character
        else:
            pieces.append(character)
    return pieces


@cache
def _segmenter(name: str) -> Callable[[str], list[str]]:
    """A function that cuts a run of letters into words, loaded once per process."""
    if name == "rjieba":
        rjieba = importlib.import_module("rjieba")
        return lambda run: list(rjieba.cut(run))
    if name == "fugashi":
        dictionary = importlib.import_module("unidic_lite").DICDIR
        tagger = importlib.import_module("fugashi").GenericTagger(f"-d {dictionary} -r {dictionary}/dicrc -Owakati")
        return lambda run: list(tagger.parse(run).split())
    tokenize = importlib.import_module("pythainlp.tokenize").word_tokenize
    return lambda run: list(tokenize(run, engine="newmm"))
