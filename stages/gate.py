"""The gate of engine cascade: a page of which all visible text shows that later stages would not keep its main text.

What the gate looks at is all visible text, menus included: signals on main text would be sharper, but a page that the
cheap engine misreads would be lost with them. Main text has no more words than all text. Of a language's share and of
sentences that is not certain (c4_quality drops a line for one word of a menu in it, which the main text may lack), so
their thresholds lie well below those of the stages, and what they lose is measured (docs/benchmarks.md).
"""

import re
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from stages.clean import clean_text
from stages.limits import RefusedError
from stages.schema import SCORE_DECIMALS

if TYPE_CHECKING:
    from stages.extract import ExtractSettings, Languages

#: Scripts without spaces between words, of which every character counts as a word (stages/words.py).
_UNSPACED: Final = re.compile("[\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")


def gate(visible: str, settings: "ExtractSettings", languages: "Languages | None") -> None:
    """Raises RefusedError (gated), with what was measured, for a page that later stages would not keep."""
    words = len(visible.split()) + len(_UNSPACED.findall(visible))
    if words < settings.gate_min_words:
        raise RefusedError("gated", "words of visible text", measured=words, threshold=settings.gate_min_words)
    if settings.gate_languages:
        assert languages is not None, "a cascade with gate_languages is given a language model"
        found = languages(" ".join(visible.split()))
        score = round(sum(found.get(language, 0.0) for language in settings.gate_languages), SCORE_DECIMALS)
        if score < settings.gate_min_language_score:
            likeliest = max(found, key=lambda language: found[language], default="none")
            detail = f"visible text is in {likeliest}, not in {', '.join(settings.gate_languages)}"
            raise RefusedError("gated", detail, measured=score, threshold=settings.gate_min_language_score)
    if settings.gate_min_sentences:
        sentences = _sentences(clean_text(visible))
        if sentences < settings.gate_min_sentences:
            least = settings.gate_min_sentences
            raise RefusedError("gated", "sentences of visible text", measured=sentences, threshold=least)


def prepare_gate(settings: "ExtractSettings") -> None:
    """Have compiled what the gate measures with, so that no document pays for it."""
    if settings.gate_min_sentences:
        _sentences("One sentence.")


def _sentences(text: str) -> int:
    """Sentences in the lines that c4_quality keeps by its default measures."""
    measure, defaults = _c4()
    found = measure(pa.table({"text": pa.array([text], pa.large_string())}), defaults, {})
    return int(found["c4_sentences"][0].as_py())


@cache
def _c4() -> tuple[Any, Any]:
    # Not at the top: most recipes have no gate, and the rules load a compiler.
    from stages import c4_quality

    return c4_quality.measure, c4_quality.C4QualitySettings()
