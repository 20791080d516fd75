"""The closed list of reason codes that a ledger row may carry, each with the sentence that the report prints.

Source: our fault matrix for reading and parsing; the names of the papers' rules for judging.
"""

from typing import Final

#: Could not be read or parsed: the row is `quarantined`.
QUARANTINE: Final[dict[str, str]] = {
    "bad_compression": "a compressed byte range that does not inflate, or whose checksum is wrong",
    "truncated": "the record or file ends before its own header says",
    "bad_header": "a record header that cannot be understood",
    "bad_length": "a Content-Length that contradicts the record's real end",
    "bad_json": "a line that is not one JSON object",
    "bad_type": "a field that has another type than the reader needs",
    "bad_encoding": "bytes that no declared or detected encoding turns into text",
    "too_large": "larger than the reader's limit",
    "ratio_bomb": "inflates by more than the reader's limit",
    "too_deep": "elements nested deeper than the parser keeps",
    "too_many_attrs": "more attributes on one tag than a parser can take in bounded time",
    "parser_limit": "the parser stopped at one of its own limits before the end of the page",
    "timeout": "the parser used up its CPU or clock time, also when tried again alone",
    "memory": "the parser used up its memory",
    "crash": "the parser died",
    "parser_error": "the parser refused the document",
    "not_pdf": "declared as PDF, but does not begin like one",
    "encrypted": "a PDF that needs a password",
    "model_error": "a stage, or its model, failed on this text",
    "io_error": "the file could not be read",
}

#: Judged and rejected: the row is `dropped`.
DROP: Final[dict[str, str]] = {
    "http_status": "the server did not answer with 200",
    "media_type": "neither HTML, PDF nor plain text",
    "empty": "no bytes in the body",
    "gated": "ruled out before the costly extraction: later stages of the recipe would not keep it",
    "no_text": "parsed, but no text came out",
    "too_short": "less text than the stage asks for",
    "url_domain": "the address is of a blocked registered domain",
    "url_host": "the address is of a blocked host",
    "url_path": "the address begins with a blocked host and path",
    "url_word": "the address holds a blocked word or string",
    "language": "not in a language that the recipe keeps, or not surely enough",
    "other_script": "too much of the text is in another script than the rest",
    "perplexity": "the n-gram model is too little or too much surprised by the text",
    "unknown_words": "too many words that the n-gram model does not know",
    "word_count": "too few or too many words",
    "mean_word_length": "words too short or too long on average",
    "symbol_ratio": "too many hash signs or ellipses for each word",
    "bullet_lines": "too many lines begin with a bullet",
    "ellipsis_lines": "too many lines end with an ellipsis",
    "alpha_words": "too few words hold a letter",
    "stop_words": "too few of the language's commonest words",
    "duplicate_lines": "too many lines stand in the document twice",
    "duplicate_line_characters": "too many characters are in repeated lines",
    "duplicate_paragraphs": "too many paragraphs stand in the document twice",
    "duplicate_paragraph_characters": "too many characters are in repeated paragraphs",
    "top_ngram": "one word sequence makes up too much of the text",
    "duplicate_ngrams": "repeated word sequences make up too much of the text",
    "sentence_count": "too few sentences are left",
    "long_lines": "too few long lines (mC4)",
    "lorem_ipsum": "placeholder text",
    "curly_bracket": "a curly bracket, the mark of code",
    "policy": "nothing is left but policy and script notices",
    "removed_words": "corrections line by line removed too much of the text (RefinedWeb)",
    "line_punctuation": "too few lines end with punctuation",
    "short_lines": "too many short lines",
    "character_duplication": "too many characters are in repeated lines (FineWeb)",
    "newline_ratio": "too many line breaks for each word (FineWeb)",
    "quality": "the quality classifier's score is too low",
    "toxicity": "the toxicity classifier's score is too high",
    "listed_words": "too many words of a word list",
    "pii": "too many e-mail addresses, phone numbers, keys or other personal data",
    "same_url": "fetched from the same address as a document that was kept",
    "exact_dup": "the same text as a document that was kept",
    "near_dup": "nearly the same text as a document that was kept",
    "little_left": "too little is left without what stands in other documents too",
    "seen_before": "the same text was in an earlier run (Bloom filter)",
    "contaminated": "holds an item of a benchmark",
    "held_out": "nearly the same text as a held-out document",
    "held_out_copied": "holds most of a held-out document",
    "removed": "taken down after the run (tamis remove)",
}

REASONS: Final[dict[str, str]] = {**QUARANTINE, **DROP}


def outcome_of(reason: str) -> str:
    """`quarantined` for what could not be read, `dropped` for what was judged. Raises KeyError for an unknown code."""
    if reason in QUARANTINE:
        return "quarantined"
    if reason in DROP:
        return "dropped"
    raise KeyError(reason)
