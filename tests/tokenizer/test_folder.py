"""transformers opens the folder and means the same ids."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tokenizer.bpe import encode, load
from tokenizer.folder import NAMES, folder_files
from tokenizer.learners import UNKNOWN, VocabularySettings, learn

CORPUS = ["the quick brown fox jumps over the lazy dog, ", "der schnelle braune Fuchs 12345\n\n"] * 40
SIZES = {"bpe": 300, "unigram": 262, "wordpiece": 550, "wordlevel": 14}


def write(folder: Path, kind: str) -> bytes:
    chosen = VocabularySettings(type=kind, vocab_size=SIZES[kind], special_tokens=("<|endoftext|>", "<|pad|>"))
    data = learn(CORPUS, chosen)
    for name, content in folder_files(data).items():
        (folder / name).write_bytes(content)
    return data


def test_the_files_name_the_roles(tmp_path: Path) -> None:
    write(tmp_path, "wordlevel")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(NAMES)
    roles = json.loads((tmp_path / "special_tokens_map.json").read_text())
    assert roles["eos_token"] == roles["bos_token"] == "<|endoftext|>"
    assert roles["unk_token"] == UNKNOWN
    assert roles["additional_special_tokens"] == ["<|pad|>"]


def test_a_tokenizer_without_special_tokens_is_refused() -> None:
    with pytest.raises(ValueError, match="no special token"):
        folder_files(b'{"added_tokens": []}')


@pytest.mark.parametrize("kind", SIZES)
def test_transformers_gives_the_same_ids_and_texts(tmp_path: Path, kind: str) -> None:
    # Part of the extra `dev`: where it is missing, this fails and is not passed over.
    import transformers

    data = write(tmp_path, kind)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert theirs.eos_token_id == theirs.bos_token_id == 0
    text = "the lazy  Fuchs\n\n jumps ##ing 12345 ünïcode 漢"
    if kind == "wordlevel":
        assert theirs("the lazy dog")["input_ids"]
        return
    ours = load(data)
    tokens, _ = encode(pa.array([text], pa.large_string()), ours)
    assert theirs(text)["input_ids"] == np.frombuffer(tokens[0].as_py(), ours.dtype).tolist()
    assert theirs.decode(theirs(text)["input_ids"]) == text
