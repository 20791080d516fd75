"""The commonest words of some languages, by which text in sentences differs from lists, menus and word salad."""

from typing import Final

#: For English the eight of Gopher (Rae et al. 2021, arXiv 2112.11446, appendix A.1.1). For the others, where no paper
#: names any, the eight commonest words of two letters or more in 350 news sentences of the Leipzig corpora collection
#: (`no` is Bokmål; Romanian without its `and`, which is written with two different letters). For Chinese and Japanese
#: the commonest single characters that are words too, so that they count however words are cut; Thai words are found
#: only by a segmenter. Lower case; each is one word (stages/words.py, stages/segmentation.py).
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
    "ar": ("في", "من", "على", "أن", "إلى", "التي", "عن", "هذه"),
    "bg": ("на", "за", "от", "се", "да", "не", "ще", "че"),
    "ca": ("de", "la", "el", "que", "en", "les", "del", "per"),
    "cs": ("se", "je", "na", "pro", "že", "do", "to", "ve"),
    "da": ("er", "og", "at", "det", "en", "af", "til", "på"),
    "el": ("και", "να", "το", "του", "για", "που", "με", "της"),
    "fa": ("در", "به", "از", "است", "این", "می", "که", "با"),
    "fi": ("ja", "on", "että", "ovat", "ei", "myös", "tai", "oli"),
    "he": ("של", "את", "על", "הוא", "בשנת", "עם", "היה", "לא"),
    "hi": ("है", "में", "के", "की", "का", "और", "को", "से"),
    "hr": ("je", "se", "na", "za", "su", "od", "da", "koji"),
    "hu": ("az", "és", "is", "hogy", "egy", "nem", "volt", "meg"),
    "id": ("yang", "dan", "dengan", "di", "itu", "untuk", "ini", "orang"),
    "ja": ("の", "に", "は", "が", "で", "と", "て", "た"),
    "ko": ("있다", "말했다", "대한", "것은", "것으로", "한다", "있는", "대해"),
    "no": ("og", "er", "av", "til", "det", "for", "som", "en"),
    "ro": ("de", "în", "la", "cu", "care", "din", "este", "pe"),
    "sk": ("na", "sa", "je", "aj", "to", "si", "ako", "že"),
    "th": ("และ", "การ", "ที่", "ของ", "ใน", "โดย", "เป็น", "ได้"),
    "tr": ("ve", "bu", "bir", "için", "olarak", "ile", "de", "da"),
    "uk": ("на", "не", "що", "до", "та", "за", "для", "як"),
    "vi": ("các", "và", "có", "của", "là", "được", "với", "cho"),
    "zh": ("的", "一", "是", "在", "不", "有", "了", "人"),
}
