"""Other ways to a vocabulary than byte-pair merges, and the choices that all of them share.

    learn(texts, settings) -> bytes of a tokenizer.json          lossless(settings) -> may shards be made with it?

Every kind but `wordlevel` stands on the 256 bytes, which are always in the vocabulary: that is its byte fallback, and
why it gives every text back. `wordlevel` knows whole words only and normalisation rewrites text: what these make can be
trained and measured, but no token shard is written with it, because `decode(shard) == text` would not hold.

Same texts, same bytes, for each kind. The library's own trainers promise less: they number what they find in the order
of a hash map that differs from process to process, and break ties by these numbers.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, trainers

from tokenizer.bpe import BYTES, MIN_FREQUENCY, WORDS, BPESettings, byte_level, fill
from tokenizer.bpe import learn as learn_bpe

Kind = Literal["bpe", "unigram", "wordpiece", "wordlevel"]
Normalization = Literal["none", "nfc", "nfkc", "lowercase"]

#: Stands before a WordPiece entry that continues a word. BERT's "##" occurs in text, and an entry then has two
#: meanings; this character is no byte's sign, so it never does.
CONTINUING = "▁"
#: Name of the entry for words that `wordlevel` does not know.
UNKNOWN = "<|unknown|>"
#: Unigram scores are natural logarithms; sums of floats in another order differ in the 15th digit (measured).
UNIGRAM_DECIMALS = 6
#: Share of the entries that a Unigram vocabulary must reach. The library's trainer prunes to 1.1 times the size and
#: then drops what its last pass finds useless, so a little less is no lack of text; a third of the size is.
UNIGRAM_LEAST = 0.9
#: What the library's Unigram trainer adds to the score of one missing byte after the other.
_MISSING_STEP = 1e-4
#: Score of special tokens in a Unigram vocabulary: no text is ever best cut into them.
_NEVER = -1e9
_NORMALIZERS = {"nfc": normalizers.NFC, "nfkc": normalizers.NFKC, "lowercase": normalizers.Lowercase}


@dataclass(frozen=True, kw_only=True)
class VocabularySettings:
    """What `learn` needs to know. Raises ValueError for settings that cannot be."""

    type: Kind = "bpe"
    #: Entries of the vocabulary, special tokens and bytes included. `unigram` may end with up to a tenth less.
    vocab_size: int
    #: The first one separates documents. They get the lowest ids, in this order.
    special_tokens: tuple[str, ...] = ("<|endoftext|>",)
    #: Rule that cuts text into words, see bpe.WORDS.
    pre_tokenizer: Literal["gpt4", "gpt2", "digits"] = "gpt4"
    #: Rewrites text before it is cut. Anything but `none` loses text.
    normalization: Normalization = "none"
    #: A longer word is cut after this many characters, in learning and in encoding alike.
    max_word_characters: int = 1000

    def __post_init__(self) -> None:
        # The same checks for every kind, with the smallest vocabulary of its own.
        BPESettings(
            vocab_size=max(self.vocab_size, BYTES + len(self.special_tokens)),
            special_tokens=self.special_tokens,
            pre_tokenizer=self.pre_tokenizer,
            max_word_characters=self.max_word_characters,
        )
        least = len(self.special_tokens) + {"wordpiece": 2 * BYTES, "wordlevel": 2}.get(self.type, BYTES)
        if self.vocab_size < least:
            raise ValueError(f"vocab_size {self.vocab_size} is too small: a {self.type} vocabulary needs {least}")
        words = pre_tokenizers.Split(Regex(WORDS[self.pre_tokenizer].replace("LIMIT", "1000")), "isolated")
        whole = [name for name in self.special_tokens if len(words.pre_tokenize_str(name)) < 2]
        if whole:
            raise ValueError(
                f"special token {whole[0]!r} could be learned as a word of ordinary text: give it letters and signs, "
                "like <|endoftext|>"
            )
        if UNKNOWN in self.special_tokens:
            raise ValueError(f"special_tokens holds {UNKNOWN!r}, which is the entry of a wordlevel vocabulary")


def lossless(settings: VocabularySettings) -> bool:
    """Whether every text comes back from a vocabulary of these settings."""
    return settings.type != "wordlevel" and settings.normalization == "none"


def learn(texts: Iterable[str], settings: VocabularySettings) -> bytes:
    """The tokenizer.json of a vocabulary learned from the texts. Same texts in any order, any number of threads: same
    bytes. Special tokens found in the texts are text.

    Raises ValueError where the texts are empty, too many for the library's counters, or too few for the vocabulary.
    """
    if settings.type == "bpe" and settings.normalization == "none":
        return learn_bpe(
            texts,
            BPESettings(
                vocab_size=settings.vocab_size,
                special_tokens=settings.special_tokens,
                pre_tokenizer=settings.pre_tokenizer,
                max_word_characters=settings.max_word_characters,
            ),
        )
    learned = {"bpe": _bpe, "unigram": _unigram, "wordpiece": _wordpiece, "wordlevel": _wordlevel}[settings.type]
    return json.dumps(learned(texts, settings), ensure_ascii=False, indent=2).encode()


def _untrained(model: Any, settings: VocabularySettings) -> Any:
    inner = byte_level(model, settings.pre_tokenizer, settings.max_word_characters)
    if settings.normalization != "none":
        inner.normalizer = _NORMALIZERS[settings.normalization]()
    return inner


def _bpe(texts: Iterable[str], settings: VocabularySettings) -> dict[str, Any]:
    inner = _untrained(models.BPE(), settings)
    trainer = trainers.BpeTrainer(
        vocab_size=settings.vocab_size,
        min_frequency=MIN_FREQUENCY,
        special_tokens=list(settings.special_tokens),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    fill(inner, texts, trainer, vocab_size=settings.vocab_size)
    return _plain(inner)


def _unigram(texts: Iterable[str], settings: VocabularySettings) -> dict[str, Any]:
    inner = _untrained(models.Unigram(), settings)
    trainer = trainers.UnigramTrainer(
        vocab_size=settings.vocab_size,
        special_tokens=list(settings.special_tokens),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    fill(inner, texts, trainer, vocab_size=settings.vocab_size, least=UNIGRAM_LEAST)
    plain = _plain(inner)
    special = set(settings.special_tokens)
    scored = [
        (round(score, UNIGRAM_DECIMALS), piece) for piece, score in plain["model"]["vocab"] if piece not in special
    ]
    # Bytes that the texts lack get the lowest score, each 0.0001 more than the last, in the order of a hash map.
    lowest = min(score for score, _ in scored)
    band = lowest + BYTES * _MISSING_STEP
    levelled = ((lowest if len(piece) == 1 and score <= band else score, piece) for score, piece in scored)
    pieces = sorted(levelled, key=lambda entry: (-entry[0], entry[1]))
    plain["model"]["vocab"] = [
        *([name, _NEVER] for name in settings.special_tokens), *([piece, score] for score, piece in pieces)
    ]  # fmt: skip
    return plain


def _wordpiece(texts: Iterable[str], settings: VocabularySettings) -> dict[str, Any]:
    """Both forms of every byte are named to the trainer as special tokens, which it numbers before it sees a text:
    then nothing hangs on the order of its hash map, and no text lacks an entry."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    first = [*settings.special_tokens, *letters, *(CONTINUING + letter for letter in letters)]
    model = models.WordPiece(unk_token=UNKNOWN, max_input_chars_per_word=4 * settings.max_word_characters)
    inner = _untrained(model, settings)
    trainer = trainers.WordPieceTrainer(
        vocab_size=settings.vocab_size,
        min_frequency=MIN_FREQUENCY,
        special_tokens=first,
        continuing_subword_prefix=CONTINUING,
        show_progress=False,
    )
    fill(inner, texts, trainer, vocab_size=settings.vocab_size)
    inner.decoder = decoders.Sequence([decoders.Replace(CONTINUING, ""), decoders.Fuse(), decoders.ByteLevel()])
    plain = _plain(inner)
    plain["added_tokens"] = plain["added_tokens"][: len(settings.special_tokens)]
    # Training leaves the library's own default behind.
    plain["model"] |= {
        "unk_token": UNKNOWN,
        "continuing_subword_prefix": CONTINUING,
        "max_input_chars_per_word": 4 * settings.max_word_characters,
    }
    return plain


def _wordlevel(texts: Iterable[str], settings: VocabularySettings) -> dict[str, Any]:
    inner = _untrained(models.WordLevel(unk_token=UNKNOWN), settings)
    trainer = trainers.WordLevelTrainer(
        vocab_size=settings.vocab_size,
        min_frequency=1,
        special_tokens=[*settings.special_tokens, UNKNOWN],
        show_progress=False,
    )
    fill(inner, texts, trainer, vocab_size=settings.vocab_size)
    return _plain(inner)


def _plain(inner: Any) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(inner.to_str())
    return plain
