"""A tokenizer as the folder that Hugging Face's transformers opens.

    tokenizer.json   tokenizer_config.json   special_tokens_map.json

`AutoTokenizer.from_pretrained(folder)` reads it. One difference is transformers' own: it takes the characters of a
special token within a text for that token, unless called with `split_special_tokens=True`; Tamis never does.
"""

import json
from typing import Any

from tokenizer.bpe import END_OF_TEXT_NAMES
from tokenizer.learners import UNKNOWN

NAMES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")


def folder_files(data: bytes, *, end_of_text: str | None = None) -> dict[str, bytes]:
    """The folder's files by name, from the bytes of a tokenizer.json. Without `end_of_text` the usual names are tried,
    then the first special token. ValueError where the tokenizer has no special token."""
    plain: dict[str, Any] = json.loads(data)
    special = [token["content"] for token in plain.get("added_tokens", []) if token.get("special")]
    usual = [name for name in END_OF_TEXT_NAMES if name in special] or [name for name in special if name != UNKNOWN]
    end = end_of_text or next(iter(usual), None)
    if end is None:
        raise ValueError("the tokenizer has no special token that could separate documents")
    others = [name for name in special if name not in (end, UNKNOWN)]
    roles: dict[str, Any] = {"bos_token": end, "eos_token": end}
    roles |= {"unk_token": UNKNOWN} if UNKNOWN in special else {}
    roles |= {"additional_special_tokens": others} if others else {}
    config = {"tokenizer_class": "PreTrainedTokenizerFast", **roles, "clean_up_tokenization_spaces": False}
    return dict(zip(NAMES, (data, _json(config), _json(roles)), strict=True))


def _json(value: dict[str, Any]) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()
