"""From bytes to text: which character set a document is in, and whether the result can be believed.

The order, each step only if the one before did not settle it: a byte order mark; zero bytes in the pattern of UTF-16;
the escapes of ISO-2022-JP; bytes that are UTF-8 (but for a tenth of the characters
beyond ASCII); the HTTP header's label; the document's own label (meta or XML declaration); detection
(uchardet). This differs from the WHATWG order in one point: what reads as UTF-8 is UTF-8 whatever
the labels say, since servers that add ISO-8859-1 to everything are common, and text in another encoding that happens
to be valid UTF-8 is not.
"""

import codecs
import re
from dataclasses import dataclass
from typing import Final

import numpy as np
from resiliparse.parse.encoding import detect_encoding, map_encoding_to_html5

from stages.clean import unreadable_fraction

_MARKS: Final = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))
#: How far a document's own label is looked for. The standard asks authors for 1,024 bytes; browsers wait for that much
#: too, but pages with long comments or scripts before it are common enough to look further.
_PRESCAN_BYTES: Final = 4096
_META: Final = re.compile(
    rb"""<(?:meta\s[^>]*?charset|\?xml\s[^>]*?encoding)\s*=\s*["']?\s*([A-Za-z0-9_:.\-]{1,40})""", re.IGNORECASE
)
_COMMENT: Final = re.compile(rb"<!--.*?(?:-->|\Z)", re.DOTALL)
#: Bytes looked at for the zero bytes of UTF-16.
_UTF16_SAMPLE_BYTES: Final = 4096
#: A tag in bytes of ASCII. In UTF-16 a zero byte stands beside each of its characters.
_NARROW_TAG: Final = re.compile(rb"</?[A-Za-z]{1,10}[ >]")
#: As many of them may be glued before a page in UTF-16.
_FEW_TAGS: Final = 2
#: Without a label, this share of the high (or low) bytes must be zero, unless all of it reads well: markup and ASCII
#: make them so in any script.
_MIN_UTF16_ZERO_FRACTION: Final = 0.2
#: With a label, the few spaces and line breaks of plain Chinese text are enough.
_MIN_LABELLED_UTF16_ZERO_FRACTION: Final = 0.01
#: Bytes that stand for something else in an ISO 8859 set than in its Windows sibling: controls, which nobody writes.
_WINDOWS_ONLY: Final = re.compile(rb"[\x80-\x9f]")
#: What the detector calls these pages, and what they are written in: the Windows set where its letters occur; KOI8-U,
#: which has Ukrainian letters in place of KOI8-R's frames.
_WINDOWS_SIBLINGS: Final = {
    "iso8859-2": "cp1250",
    "iso8859-6": "cp1256",
    "iso8859-7": "cp1253",
    "iso8859-8": "cp1255",
    "iso8859-9": "cp1254",
    "iso8859-13": "cp1257",
}
#: Sets whose letters stand alone between ASCII ones as Western letters do, and how many different ones a text must
#: show to be believed in them: Polish has nine, Lithuanian too, Albanian, which is taken for Baltic, two.
_LATIN_LOOK_ALIKES: Final = {"cp1250": 5, "iso8859-2": 5, "cp1254": 5, "iso8859-13": 7, "cp1257": 7}
#: From this many bytes beyond ASCII on the detector's word counts more than a Latin-1 label. On texts of 15 Western
#: languages labelled so it is then never one of these sets, but for Icelandic, which has its own rule.
_MIN_BYTES_AGAINST_LABEL: Final = 20
#: What all Windows sets have at the same places: quotation marks, dashes, no-break space, section and degree sign.
_PUNCTUATION: Final = frozenset((0x82, 0x84, 0x85, *range(0x91, 0x98), 0xA0, 0xA7, 0xAB, 0xB0, 0xB7, 0xBB))
#: ae, eth, thorn and i acute: no language of those sets has letters at all four places.
_ICELANDIC: Final = (0xE6, 0xF0, 0xFE, 0xED)
#: Zero bytes at the other places, for each one at the right place.
_MAX_UTF16_OTHER_FRACTION: Final = 0.1
#: How ISO-2022-JP switches to Japanese; its bytes are ASCII, so that UTF-8 always seems right.
_ISO_2022_JP: Final = re.compile(rb"\x1b\$[@B]")
#: Bytes from each end together that the detector sees: its own default is 128 kB, which takes 1 ms.
_DETECT_BYTES: Final = 65_536
#: A Latin-1 label is doubted if more than half of the bytes beyond ASCII stand side by side. In Western European
#: languages they stand alone between ASCII letters; in any other script they come in words.
_MAX_LATIN_RUN_FRACTION: Final = 0.5
#: Share of the characters beyond ASCII that may be broken in a text that is taken for UTF-8 all the same. Other
#: encodings read as UTF-8 come out broken nearly everywhere; cut and concatenated UTF-8 does here and there.
_MAX_UTF8_DAMAGE: Final = 0.1
_BEYOND_ASCII: Final = 0x80
#: A label is taken at its word up to this share of unreadable characters, so that a few broken bytes do not hand a
#: page to the detector.
_MAX_LABEL_UNREADABLE: Final = 0.001


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """A document's text, how it was read, and how much of it is not text."""

    text: str
    #: Python's name of the character set.
    charset: str
    #: Share of characters that are U+FFFD or control characters. Near 0 for text in the right character set; about 0.1
    #: for random or compressed bytes read as a single-byte one.
    unreadable: float


def decode(content: bytes, *, declared: str | None) -> Decoded:
    """Decode a document; `declared` is the HTTP header's label. Invalid bytes become U+FFFD. Never raises.

    Zero bytes at the end (padding) are not part of a document and are left out, except in UTF-16.
    """
    for mark, charset in _MARKS:
        if content.startswith(mark):
            return _decoded(content[len(mark) :], charset)
    labels = [label for label in (_python_name(declared), _own_label(content)) if label]
    utf16 = _utf16(content, labelled=any(label.startswith("utf-16") for label in labels))
    if utf16:
        return _decoded(content, utf16)
    content = content.rstrip(b"\0")
    if _ISO_2022_JP.search(content):
        escaped = _decoded(content, "iso2022_jp")
        if escaped.unreadable <= _MAX_LABEL_UNREADABLE:
            return escaped
    utf8 = _decoded(content, "utf-8")
    damage = utf8.text.count("\ufffd")
    if damage == 0 or damage <= _MAX_UTF8_DAMAGE * _beyond_ascii(utf8.text):
        return utf8
    # Of bytes that are no text each of these is up to four times as large as the document: no more than two at a time.
    unreadable_as_utf8 = utf8.unreadable
    del utf8
    best: Decoded | None = None
    for label in labels:
        if label.startswith("utf-16") or (label == "cp1252" and _not_western(content)):
            continue
        candidate = _decoded(content, label)
        if candidate.unreadable <= _MAX_LABEL_UNREADABLE:
            return candidate
        best = _better(best, candidate)
    best = _better(best, _decoded(content, _detected(content)))
    return best if best.unreadable <= unreadable_as_utf8 else _decoded(content, "utf-8")


def _better(first: Decoded | None, second: Decoded) -> Decoded:
    return second if first is None or second.unreadable < first.unreadable else first


def _beyond_ascii(text: str) -> int:
    """Characters beyond ASCII, counted without a list of them."""
    return len(text) - len(text.encode("ascii", "ignore"))


def _decoded(content: bytes, charset: str) -> Decoded:
    text = content.decode(charset, errors="replace")
    return Decoded(text=text, charset=charset, unreadable=unreadable_fraction(text))


def _python_name(label: str | None) -> str | None:
    """Python's name of the encoding that browsers use for a label; None for no or an unknown label.

    Browsers read supersets: windows-1252 for ISO-8859-1 and ASCII, GB 18030 for GB 2312 and GBK, CP932 for Shift_JIS.
    """
    if not label:
        return None
    name = map_encoding_to_html5(label.strip().strip("\"'")[:40], fallback_utf8=False)
    if name is None:
        return None
    return _SUPERSETS.get(name.lower(), name.lower())


#: Names of the WHATWG encodings for which Python has another name, or a codec that takes in more of what is out there.
_SUPERSETS: Final = {
    "windows-1252": "cp1252",
    "iso-8859-1": "cp1252",
    "gbk": "gb18030",
    "gb2312": "gb18030",
    "shift_jis": "cp932",
    "shift-jis": "cp932",
    "euc_kr": "cp949",
    "big5": "big5hkscs",
    "iso-2022-jp": "iso2022_jp",
    "utf-16le": "utf-16-le",
    "utf-16be": "utf-16-be",
    "utf-16": "utf-16-le",
    "iso8859-11": "cp874",
    "macintosh": "mac_roman",
}


def _own_label(content: bytes) -> str | None:
    match = _META.search(_COMMENT.sub(b"", content[:_PRESCAN_BYTES]))
    return _python_name(match.group(1).decode("ascii")) if match else None


def _utf16(content: bytes, *, labelled: bool) -> str | None:
    """`utf-16-le` or `utf-16-be` if zero bytes stand at every other place as these encodings put them."""
    sample = content[: _UTF16_SAMPLE_BYTES - _UTF16_SAMPLE_BYTES % 2]
    pairs = len(sample) // 2
    if pairs == 0 or b"\0" not in sample:
        return None
    even, odd = sample[0::2].count(0), sample[1::2].count(0)
    few = max(2, pairs * _MIN_LABELLED_UTF16_ZERO_FRACTION)
    enough = few if labelled else max(2, pairs * _MIN_UTF16_ZERO_FRACTION)
    if len(_NARROW_TAG.findall(sample)) > max(_FEW_TAGS, sample.count(b"\0<") + sample.count(b"<\0")):
        # A page of one byte a character with zero bytes strewn in.
        return None
    for charset, zeros, others in (("utf-16-le", odd, even), ("utf-16-be", even, odd)):
        # Some characters have a zero as their low byte (U+4E00, the Chinese "one"): the other place need not be clean.
        if zeros < few or others > zeros * _MAX_UTF16_OTHER_FRACTION:
            continue
        # A page with little markup has few zero bytes; then nothing in it may be wrong.
        if zeros >= enough or _flawless(content, charset):
            return charset
    return None


def _flawless(content: bytes, charset: str) -> bool:
    """Whether all of it decodes, and to no control character. Other bytes read as UTF-16 have lone surrogates."""
    try:
        return unreadable_fraction(content.decode(charset)) == 0.0
    except UnicodeDecodeError:
        return False


def _not_western(content: bytes) -> bool:
    """Whether a text labelled as Latin-1 or windows-1252 looks like one in another script, or of Central Europe."""
    encoded = np.frombuffer(content, np.uint8) >= _BEYOND_ASCII
    pairs = encoded[1:] & encoded[:-1]
    count = int(np.count_nonzero(encoded))
    # A byte stands in a run if the one before it or the one behind it does too.
    in_runs = (
        int(np.count_nonzero(pairs)) + int(np.count_nonzero(pairs[:1])) + int(np.count_nonzero(pairs[1:] & ~pairs[:-1]))
    )
    if in_runs > _MAX_LATIN_RUN_FRACTION * count:
        return True
    letters = {value for value in range(_BEYOND_ASCII, 256) if value in content} - _PUNCTUATION
    if count < _MIN_BYTES_AGAINST_LABEL or letters.issuperset(_ICELANDIC):
        return False
    return len(letters) >= _LATIN_LOOK_ALIKES.get(_detected(content), len(letters) + 1)


def _detected(content: bytes) -> str:
    """What uchardet takes the bytes for; windows-1252 if it cannot tell, as browsers do for the West."""
    found = detect_encoding(content, max_len=_DETECT_BYTES, html5_compatible=False)
    name = _python_name(found) or found or "cp1252"
    try:
        codecs.lookup(name)
    except LookupError:
        return "cp1252"
    if name == "koi8-r":
        return "koi8_u"
    if name in _WINDOWS_SIBLINGS and _WINDOWS_ONLY.search(content):
        return _WINDOWS_SIBLINGS[name]
    return name
