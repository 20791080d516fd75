"""The root hash of a run: what "the same bytes" means."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

#: Outputs below these folders are covered; the report and the manifest's observations are not.
COVERED = ("kept/", "ledger/", "shards/", "tokenizer/")


def root_hash(outputs: Mapping[str, str], recipe: Mapping[str, Any]) -> str:
    """sha256 over the outputs' names and sha256s and the resolved recipe; never over times, memory or paths."""
    covered = {name: digest for name, digest in sorted(outputs.items()) if name.startswith(COVERED)}
    text = json.dumps([covered, recipe], sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
