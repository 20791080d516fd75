"""Clean-up of extracted text: no control characters, no lone surrogates; PDF ligatures and line-end hyphens mended.

Text is not normalised to NFC or any other form: two spellings of one character are the page's business, and a stage
that compares texts folds them for itself. (The trafilatura engine returns NFC, because trafilatura does.)
"""

import re
import unicodedata
from collections.abc import Iterable
from typing import Final

import numpy as np

#: What other programs write for a line break: CR LF, CR, vertical tab, form feed, NEL.
_LINE_BREAKS: Final = re.compile("\r\n|[\r\x0b\x0c\x85]")
#: All of Unicode's Cc but \n and \t.
_CONTROLS: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")
#: Spaces that differ from U+0020 only in where a line may break. Templates write them for layout, and a classifier,
#: a shingle or a byte-pair merge would take "a\u00a0word" for one word.
_FIXED_SPACES: Final = re.compile("[\u00a0\u2007\u202f]")
_LINE_ENDS: Final = re.compile("[ \t]+(?=\n)")
_SURROGATES: Final = re.compile("[\ud800-\udfff]")
#: What shows that bytes were not text, or not in this encoding: the replacement character and control characters
#: that no text file holds (line breaks, tab, form feed and escape are ordinary). Here those of ASCII, which in UTF-8
#: are no part of anything else, and the first byte of the others, of which the second is below 0xA0.
_UNREADABLE_ASCII: Final = bytes([*range(9), *range(0x0E, 0x1B), *range(0x1C, 0x20), 0x7F])
_UNREADABLE_FIRST: Final = 0xC2
#: Characters that are looked at together: what counting takes in memory does not grow with the text.
_COUNTED_TOGETHER: Final = 1 << 18

#: A glyph without a known character that stands by itself.
LONE_GLYPH: Final = re.compile("(?<!\\S)[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f-\x9f\ufffd](?!\\S)")
#: TeX's opening quote, which PDFium takes for the accent.
_LONE_GRAVE: Final = re.compile("(?<!\\S)\u0300")
#: Unicode's Latin ligatures (FB00 to FB06), which fonts use and words are not spelled with.
_LIGATURES: Final = {
    0xFB00: "ff",
    0xFB01: "fi",
    0xFB02: "fl",
    0xFB03: "ffi",
    0xFB04: "ffl",
    0xFB05: "st",
    0xFB06: "st",
}
#: Arabic letters in the shape that they have at their place in a word, and Kangxi radicals: fonts have glyphs for them,
#: texts are not written with them.
_FORMS: Final = re.compile("[\u2f00-\u2fd5\ufb50-\ufdfb\ufe70-\ufefc]+")
#: What follows a hyphen that stands for the rest of a word.
_CONJUNCTIONS: Final = frozenset(
    {"and", "or", "to", "und", "oder", "bis", "bzw", "et", "ou", "y", "o", "e", "en", "of"}
)
#: PDFium's marks for a hyphen that it takes for one of line end; it leaves the line break out.
_PDFIUM_HYPHEN: Final = re.compile("[\u0002\ufffe][ \t]*\n?")
#: A word that a line end cuts after a hyphen (ASCII, U+2010 or the soft hyphen), and the rest of its token.
_CUT_WORD: Final = re.compile(r"(?<![^\W\d_])([^\W\d_]++)([-\u2010\u00ad])[ \t]*+\n[ \t]*+([^\W\d_]++)(\S*+)[ \t]*+\n?")
_LINE_END_HYPHEN: Final = re.compile("[-\u2010\u00ad][ \t]*+\n")
#: ASCII text with nothing in it to be mended.
_PLAIN: Final = re.compile("[ -~\n\t]*+")
_WORD: Final = re.compile("[^\\W\\d_]+(?:[-\u2010][^\\W\\d_]+)?")


def clean_text(text: str) -> str:
    """`text` with line breaks as \\n, without control characters but \\n and \\t, stripped of outer white space.

    Spaces that only forbid a line break become plain ones; lines lose the white space at their ends.

    Lone surrogates become U+FFFD, so that the result can always be encoded. Never raises; linear in the length.
    """
    text = _LINE_BREAKS.sub("\n", text)
    text = _LINE_ENDS.sub("", _FIXED_SPACES.sub(" ", _CONTROLS.sub("", text)))
    return _SURROGATES.sub("\ufffd", text).strip()


def clean_title(title: str | None) -> str | None:
    """A title on one line, its white space collapsed; None if nothing is left."""
    return " ".join(clean_text(title or "").split()) or None


def unreadable_fraction(text: str) -> float:
    """Share of the characters of `text` that are U+FFFD or control characters; 0 for empty text. In [0, 1].

    Two to six times as fast as a regular expression, in memory that does not grow with what is found.
    """
    parts = (text[at : at + _COUNTED_TOGETHER] for at in range(0, len(text), _COUNTED_TOGETHER))
    return sum(map(_unreadable, parts)) / len(text) if text else 0.0


def _unreadable(text: str) -> int:
    data = text.encode("utf-8", "surrogatepass")
    count = len(data) - len(data.translate(None, _UNREADABLE_ASCII))
    if len(data) == len(text):
        return count
    count += text.count("\ufffd")
    if _UNREADABLE_FIRST in data:
        values = np.frombuffer(data, np.uint8)
        count += int(np.count_nonzero((values[:-1] == _UNREADABLE_FIRST) & (values[1:] < 0xA0)))
    return count


def pdf_characters(text: str) -> str:
    """`text` with ligatures spelled out, presentation forms and radicals as letters, one kind of line break."""
    if text.isascii() and _PLAIN.fullmatch(text):
        return text
    text = _PDFIUM_HYPHEN.sub("\u00ad\n", _LINE_BREAKS.sub("\n", text))
    if text.isascii():
        return text
    if _unreadable(text):
        text = LONE_GLYPH.sub("•", text)
    if "\u0300" in text:
        text = _LONE_GRAVE.sub("`", text)
    return _FORMS.sub(lambda match: unicodedata.normalize("NFKC", match[0]), text.translate(_LIGATURES))


def cut_words(text: str) -> bool:
    """Whether a line end may cut a word in `text`."""
    # The cheap look first: most paragraphs have no hyphen at a line end.
    return _LINE_END_HYPHEN.search(text) is not None and _CUT_WORD.search(text) is not None


def whole_words(texts: Iterable[str]) -> frozenset[str]:
    """The words that `texts` write whole, in lower case, with and without hyphens."""
    return frozenset(word.lower() for text in texts for word in _WORD.findall(_whole_only(text)))


def _whole_only(text: str) -> str:
    return _CUT_WORD.sub("\n", text) if _LINE_END_HYPHEN.search(text) else text


def mend_pdf_text(text: str, *, vocabulary: frozenset[str] | None = None) -> str:
    """PDF text with ligatures spelled out and words that a line end cut put together.

    A hyphen at a line end before a lower-case letter is dropped, unless the document elsewhere writes the word with
    this hyphen and nowhere without it: the document is its own dictionary (`vocabulary`, or `text` itself). Before a
    capital letter a hyphen stays, and one before a conjunction (\"pre- and post-war\"). The line now ends behind the
    whole word. Soft hyphens elsewhere are dropped.
    """
    text = pdf_characters(text)
    if cut_words(text):
        whole = whole_words([text]) if vocabulary is None else vocabulary

        def join(match: re.Match[str]) -> str:
            first, _, second, rest = match.groups()
            one_word = f"{first}{second}".lower() in whole
            if second in _CONJUNCTIONS and not one_word and not rest[:1].isalnum():
                return f"{first}- {second}{rest}\n"
            hyphenated = f"{first}-{second}".lower() in whole or not second[0].islower()
            hyphen = "-" if hyphenated and not one_word else ""
            return f"{first}{hyphen}{second}{rest}\n"

        text = _CUT_WORD.sub(join, text)
    return text.replace("\u00ad", "")
