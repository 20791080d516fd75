"""The commonest words of some languages, by which text in sentences differs from lists, menus and word salad."""

from typing import Final

#: For English the eight of Gopher (Rae et al. 2021, arXiv 2112.11446, appendix A.1.1). For the others, where no paper
#: names any, the eight commonest words of two letters or more in 350 news sentences of the Leipzig corpora collection.
#: Lower case; each is exactly one word (stages/words.py).
STOP_WORDS: Final[dict[str, tuple[str, ...]]] = {
    "en": ("the", "be", "to", "of", "and", "that", "have", "with"),
    "de": ("die", "der", "und", "in", "das", "von", "den", "ist"),
    "es": ("de", "la", "el", "en", "que", "los", "con", "las"),
    "fr": ("de", "la", "et", "le", "les", "des", "est", "une"),
    "it": ("di", "il", "la", "che", "per", "in", "un", "le"),
    "nl": ("de", "van", "in", "het", "een", "is", "en", "op"),
    "pl": ("na", "się", "nie", "do", "że", "to", "jest", "po"),
    "pt": ("de", "que", "do", "da", "com", "em", "para", "na"),
    "ru": ("не", "на", "что", "как", "он", "по", "мы", "это"),
    "sv": ("och", "att", "en", "för", "av", "till", "som", "är"),
}
