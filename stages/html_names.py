"""What the HTML kernel knows by name: elements, attributes, character references and common words, as flat arrays.

Names are known by their 32-bit FNV-1a hash alone; the tables are checked here to be free of collisions among
themselves, so that only a name outside them could be mistaken for one, with a chance of 2**-32 each.
"""

from html.entities import html5
from typing import Any, Final

import numpy as np

from stages.stop_words import STOP_WORDS

_FNV_OFFSET: Final = 0x811C9DC5
_FNV_PRIME: Final = 0x01000193

# How an element behaves. An element that is pushed has a place on the stack of open elements; one that breaks ends a
# block where it begins and where it ends.
PUSH: Final = 1
BREAK: Final = 2
VOID: Final = 4
SKIP: Final = 8  # raw text that no page shows
RAW: Final = 16  # text without tags inside: title, textarea, xmp
SCOPE: Final = 32  # an end tag outside does not reach elements inside
HEADING_TAG: Final = 64
CELL: Final = 128

# What a block stands in: bits that an element hands down to all that is in it.
ARTICLE: Final = 1 << 0
MAIN: Final = 1 << 1
NAV: Final = 1 << 2
ASIDE: Final = 1 << 3
HEADER: Final = 1 << 4
FOOTER: Final = 1 << 5
FORM: Final = 1 << 6
FIGURE: Final = 1 << 7
QUOTE: Final = 1 << 8
TABLE: Final = 1 << 9
LIST: Final = 1 << 10
PRE: Final = 1 << 11
HIDDEN: Final = 1 << 12
HEADING: Final = 1 << 13
NOSCRIPT: Final = 1 << 14
SVG: Final = 1 << 15
PARAGRAPH: Final = 1 << 16
ITEM: Final = 1 << 17
SECTION: Final = 1 << 18
DEFINITIONS: Final = 1 << 19
HEAD: Final = 1 << 20
BODY_OF_ARTICLE: Final = 1 << 21

_P = PUSH | BREAK
#: name -> (behaviour, bits handed down). The order gives the numbers; elements that are not here are inline.
# fmt: off
ELEMENTS: Final[dict[str, tuple[int, int]]] = {
    "": (0, 0),
    "p": (_P, PARAGRAPH), "div": (_P, 0), "li": (_P, ITEM), "ul": (_P, LIST), "ol": (_P, LIST),
    "h1": (_P | HEADING_TAG, HEADING), "h2": (_P | HEADING_TAG, HEADING), "h3": (_P | HEADING_TAG, HEADING),
    "h4": (_P | HEADING_TAG, HEADING), "h5": (_P | HEADING_TAG, HEADING), "h6": (_P | HEADING_TAG, HEADING),
    "table": (_P | SCOPE, TABLE), "tr": (_P, 0), "td": (PUSH | CELL | SCOPE, 0), "th": (PUSH | CELL | SCOPE, 0),
    "thead": (_P, 0), "tbody": (_P, 0), "tfoot": (_P, 0), "caption": (_P | SCOPE, 0),
    "dl": (_P, DEFINITIONS), "dt": (_P, ITEM), "dd": (_P, ITEM),
    "pre": (_P, PRE), "listing": (_P, PRE), "blockquote": (_P, QUOTE), "article": (_P, ARTICLE), "main": (_P, MAIN),
    "nav": (_P, NAV), "aside": (_P, ASIDE), "header": (_P, HEADER), "footer": (_P, FOOTER), "section": (_P, SECTION),
    "form": (_P, FORM), "fieldset": (_P, FORM), "legend": (_P, FORM), "select": (_P, FORM), "option": (_P, FORM),
    "optgroup": (_P, FORM), "button": (_P | SCOPE, FORM), "textarea": (_P | RAW, FORM), "label": (0, 0),
    "figure": (_P, FIGURE), "figcaption": (_P, FIGURE), "details": (_P, 0), "summary": (_P, 0), "dialog": (_P, HIDDEN),
    "address": (_P, 0), "center": (_P, 0), "hgroup": (_P, HEADER), "menu": (_P, LIST | NAV), "dir": (_P, LIST),
    "search": (_P, FORM), "noscript": (_P, NOSCRIPT), "template": (_P | SCOPE, HIDDEN), "svg": (_P | SCOPE, SVG),
    "body": (PUSH, 0), "head": (0, 0), "html": (0, 0), "marquee": (_P | SCOPE, 0), "object": (_P | SCOPE, 0),
    "video": (_P, NOSCRIPT), "audio": (_P, NOSCRIPT), "canvas": (_P, NOSCRIPT), "frameset": (_P, 0),
    "title": (_P | RAW, HEAD), "script": (SKIP, 0), "style": (SKIP, 0), "iframe": (SKIP | BREAK, 0),
    "noembed": (SKIP, 0),
    "noframes": (_P, NOSCRIPT), "xmp": (_P | RAW, PRE), "plaintext": (_P, PRE),
    "br": (VOID, 0), "hr": (VOID | BREAK, 0), "img": (VOID, 0), "input": (VOID, 0), "meta": (VOID, 0),
    "link": (VOID, 0), "base": (VOID, 0), "wbr": (VOID, 0), "col": (VOID, 0), "embed": (VOID, 0), "area": (VOID, 0),
    "source": (VOID, 0), "track": (VOID, 0), "param": (VOID, 0),
    "a": (0, 0), "b": (0, 0), "strong": (0, 0), "i": (0, 0), "em": (0, 0), "code": (0, 0), "kbd": (0, 0),
    "samp": (0, 0), "tt": (0, 0), "span": (0, 0), "time": (0, 0), "font": (0, 0), "sup": (0, 0), "sub": (0, 0),
}
# fmt: on
NUMBER: Final = {name: number for number, name in enumerate(ELEMENTS)}
BEHAVIOUR: Final = np.array([behaviour for behaviour, _ in ELEMENTS.values()], np.int32)
HANDED_DOWN: Final = np.array([bits for _, bits in ELEMENTS.values()], np.int32)

#: Buckets of class, id, role and element names whose weight the judge has learned.
TOKEN_BUCKETS: Final = 1 << 15
ELEMENT_SLOTS: Final = 1 << 10
ENTITY_SLOTS: Final = 1 << 13
STOP_SLOTS: Final = 1 << 12


def fnv(name: bytes) -> int:
    """32-bit FNV-1a, as the kernel computes it."""
    value = _FNV_OFFSET
    for byte in name:
        value = ((value ^ byte) * _FNV_PRIME) & 0xFFFFFFFF
    return value


def _slots(hashes: list[int], size: int) -> tuple[Any, Any]:
    """Open addressing: (hash of each slot, index into `hashes` of each slot or -1)."""
    assert len(set(hashes)) == len(hashes), "two names with one hash"
    keys, values = np.zeros(size, np.uint32), np.full(size, -1, np.int16)
    for index, value in enumerate(hashes):
        slot = value % size
        while values[slot] >= 0:
            slot = (slot + 1) % size
        keys[slot], values[slot] = value, index
    return keys, values


ELEMENT_KEYS, ELEMENT_VALUES = _slots([fnv(name.encode()) for name in ELEMENTS], ELEMENT_SLOTS)

# Character references: all of the standard's names, with the semicolon where the name has one.
_REFERENCES = sorted(html5)
ENTITY_KEYS, ENTITY_VALUES = _slots([fnv(name.encode()) for name in _REFERENCES], ENTITY_SLOTS)
#: The one or two code points of each name; 0 where there is no second.
ENTITY_FIRST: Final = np.array([ord(html5[name][0]) for name in _REFERENCES], np.int32)
ENTITY_SECOND: Final = np.array([ord(html5[name][1:] or "\0") for name in _REFERENCES], np.int32)
#: The longest name that needs no semicolon, and the longest of all.
LEGACY_LENGTH: Final = max(len(name) for name in _REFERENCES if not name.endswith(";"))
ENTITY_LENGTH: Final = max(map(len, _REFERENCES))
#: What numeric references to 0x80 to 0x9f mean: windows-1252; 0 where it has nothing.
WINDOWS_1252: Final = np.array(
    [ord(bytes([code]).decode("cp1252", "replace").replace("\ufffd", "\0")) for code in range(0x80, 0xA0)], np.int32
)

#: One-character words that carry sentences in scripts without spaces (Chinese, Japanese).
_PARTICLES: Final = "的是在了不和有这為为我他の は が を に と で も".replace(" ", "")
#: Beyond the lists that stages judge documents by: the commonest words of further languages, so that prose of these
#: can be told from menus too.
_FURTHER: Final = (
    "a an is was it for on as with by at this from are not you he they we his her has had will or but which one all",
    "ein eine nicht mit sich auf für dem des sie er es auch als an wie wird aus im bei war noch hat oder",
    "un une dans pour que qui sur pas plus par au avec il elle ce sont son du en ne se",
    "por con para una su al lo como más o pero sus le ya este sí porque esta entre",
    "non sono della del dei con più anche alla nel gli una ma ha si come dal",
    "o a os as um uma não mais dos mas ao ele das à seu sua ou quando muito nos já",
    "het een zijn niet met voor aan dat te hij ook maar bij om er",
    "och det som på de är med inte han den var jag ett om hade men",
    "og er på en av som til ikke med for at han de det var jeg",
    "w i z o się jest nie od za przez ale tak jak po co",
    "a je v na se s z že o do i si jako za by",
    "és a az hogy nem is egy de van meg ez csak",
    "ve bir bu da de için ile çok daha gibi ne var",
    "ja on ei se että oli hän mutta niin kun ovat",
    "și de la în cu pe nu care este din un mai",
    "и в не на я что с он как это по но они мы за из у же от так его",
    "і в на не що з до та як у за це від про є",
    "και το η ο να του της με για που είναι από σε δεν",
    "في من على أن إلى عن مع هذا التي ما لا هو كان",
    "של את על לא זה עם הוא כי גם או",
    "के में है की से को और का पर यह",
    "yang dan di dari untuk dengan ini itu pada tidak",
    "của và là có trong cho được với không một các",
)
_WORDS: Final = sorted(
    {word for words in STOP_WORDS.values() for word in words}
    | {word for words in _FURTHER for word in words.split()}
    | set(_PARTICLES)
)
STOP_KEYS, STOP_VALUES = _slots([fnv(word.encode()) for word in _WORDS], STOP_SLOTS)

#: What names of classes and short texts say about what they name: the vocabulary that extractors have always looked
#: for (readability, trafilatura), by kind. Which kind speaks for what, the judge learns.
_KINDS: Final = """
comment comments commentlist commentarea commentsarea commentform disqus respond reply replies discussion discuss
kommentar kommentare commentaire commentaires comentario comentarios commenti komentarze livefyre fbcomments

related recommend recommended recommendation recommendations outbrain taboola teaser teasers readmore similar more
popular trending mostread moreon morefrom suggest suggested suggestions carousel slider recirc upnext latest also
ähnliche weitere mehr lire leia lees aussi también também leggi anche relacionadas relacionados verwandte

cookie cookies consent gdpr cmp onetrust cookiebar notice privacy datenschutz terms policy

share sharing social shariff sharedaddy addthis addtoany facebook twitter whatsapp pinterest follow linkedin teilen
partager compartir condividi compartilhar instagram telegram

author authors byline bio authorbox vcard avatar writer contributor autor autoren auteur autore about

meta postmeta entrymeta date time published timestamp tags tag tagcloud category categories posted dateline info
updated kategorien schlagwörter

nav menu navbar navigation navi breadcrumb breadcrumbs pagination pager topbar submenu toc skip previous next search
suche home

sidebar widget widgets rail rightcol secondary complementary side

newsletter subscribe subscription signup paywall optin mailchimp register login signin abo abonnieren abonner
anmelden premium email

modal popup overlay dialog lightbox tooltip drawer offcanvas toast alert

ad ads advert advertisement sponsor sponsored promo promotion promoted anzeige werbung dfp adslot commercial
shopping affiliate publicidad publicité pubblicità reklama

footer foot copyright legal disclaimer impressum imprint colophon rights reserved contentinfo

caption credit credits figcaption wpcaption gallery photo photos image images foto fotos bild getty reuters quelle

article content entry post body story main text articlebody entrycontent postcontent storybody hentry maincontent
bodytext paragraph richtext prose pagecontent articletext copy

title headline heading subtitle deck standfirst lead intro summary excerpt kicker dek lede description abstract

hidden hide invisible sr visually screenreader noprint print player video audio ticker
""".strip().split("\n\n")
KINDS: Final = len(_KINDS)
MAIN_KIND: Final = next(number for number, words in enumerate(_KINDS) if words.startswith("article "))


def _kinds(seed: bytes) -> Any:
    """int32[TOKEN_BUCKETS]: bits of the kinds that a word's bucket stands for."""
    table = np.zeros(TOKEN_BUCKETS, np.int32)
    for kind, words in enumerate(_KINDS):
        for word in words.split():
            for written in {word, word.capitalize()}:
                # ASCII is compared in lower case, all else byte for byte.
                lowered = "".join(letter.lower() if letter.isascii() else letter for letter in written)
                table[fnv(seed + lowered.encode()) & (TOKEN_BUCKETS - 1)] |= 1 << kind
    return table


KINDS_OF_NAMES: Final = _kinds(b"class:")
KINDS_OF_WORDS: Final = _kinds(b"")

ATTRIBUTES: Final = {
    name: fnv(name.encode())
    for name in ("class", "id", "role", "itemprop", "itemtype", "href", "style", "hidden", "aria-hidden", "property")
}
