"""One set of shards for all tests of training that do not care which."""

from pathlib import Path

import pytest
from token_corpus import shards_of_texts

from tokenizer.shards import ShardSet


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory) -> ShardSet:
    folder: Path = tmp_path_factory.mktemp("shards")
    return shards_of_texts(folder)
