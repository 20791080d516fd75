"""Clean-up of extracted text: no control characters, no lone surrogates; PDF ligatures and line-end hyphens mended.

Text is not normalised to NFC or any other form: two spellings of one character are the page's business, and a stage
that compares texts folds them for itself. (The trafilatura engine returns NFC, because trafilatura does.)
"""

import re
from typing import Final

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
#: that no text file holds (line breaks, tab, form feed and escape are ordinary).
_UNREADABLE: Final = re.compile("[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f-\x9f\ufffd]")

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
_LIGATURE: Final = re.compile("[\ufb00-\ufb06]")
#: PDFium's marks for a hyphen that it takes for one of line end; it leaves the line break out.
_PDFIUM_HYPHEN: Final = re.compile("[\u0002\ufffe][ \t]*\n?")
#: A word that a line end cuts after a hyphen (ASCII, U+2010 or the soft hyphen), and the rest of its token.
_CUT_WORD: Final = re.compile(r"(?<![^\W\d_])([^\W\d_]++)([-\u2010\u00ad])[ \t]*+\n[ \t]*+([^\W\d_]++)(\S*+)[ \t]*+\n?")
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
    """Share of the characters of `text` that are U+FFFD or control characters; 0 for empty text. In [0, 1]."""
    # Not by counting matches: a list of them is eight times as large as a text of them.
    return (len(text) - len(_UNREADABLE.sub("", text))) / len(text) if text else 0.0


def mend_pdf_text(text: str) -> str:
    """PDF text with ligatures spelled out and words that a line end cut put together.

    A hyphen at a line end before a lower-case letter is dropped, unless the document elsewhere writes the word with
    this hyphen and nowhere without it: the document is its own dictionary. Before a capital letter a hyphen stays. The
    line now ends behind the whole word. Soft hyphens elsewhere are dropped.
    """
    text = _PDFIUM_HYPHEN.sub("\u00ad\n", _LINE_BREAKS.sub("\n", text))
    if _LIGATURE.search(text):
        text = text.translate(_LIGATURES)
    if _CUT_WORD.search(text):
        whole = {word.lower() for word in _WORD.findall(_CUT_WORD.sub("\n", text))}

        def join(match: re.Match[str]) -> str:
            first, _, second, rest = match.groups()
            hyphenated = f"{first}-{second}".lower() in whole and f"{first}{second}".lower() not in whole
            hyphen = "-" if hyphenated or not second[0].islower() else ""
            return f"{first}{hyphen}{second}{rest}\n"

        text = _CUT_WORD.sub(join, text)
    return text.replace("\u00ad", "")
