"""What the tests of the rule stages share: measuring a few texts, and the decisions that datatrove 0.10 took."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from stages.stage import Stage

PEER_CASES = Path(__file__).parents[2] / ".." / "shared" / "data" / "peer_cases"


def measure(stage: Stage, texts: list[str], **settings: Any) -> list[dict[str, Any]]:
    """The measured columns of each text."""
    return _measured(stage, texts, settings).to_pylist()


def verdicts(stage: Stage, texts: list[str], **settings: Any) -> list[dict[str, Any]]:
    """The verdict on each text."""
    assert stage.judge is not None
    table = _measured(stage, texts, settings)
    return stage.judge(table.select(stage.judges), stage.settings(**settings)).to_pylist()


def verdict(stage: Stage, text: str, **settings: Any) -> dict[str, Any]:
    return verdicts(stage, [text], **settings)[0]


def peer_cases(name: str) -> list[dict[str, Any]]:
    """The recorded inputs and decisions of one filter. Skips the test where the data pack is not there."""
    path = PEER_CASES / f"datatrove_{name}.json"
    if not path.is_file():
        pytest.skip(f"{path.name} of the data pack is not there")
    cases: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["cases"]
    return cases


def _measured(stage: Stage, texts: list[str], settings: dict[str, Any]) -> pa.Table:
    assert stage.measure is not None
    docs = pa.table({"text": pa.array(texts, pa.large_string())})
    return stage.measure(docs, stage.settings(**settings).without_thresholds(), {})
