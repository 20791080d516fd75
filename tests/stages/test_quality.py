"""The quality stage: what it measures with the bundled model, and what it drops."""

import gzip
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError

from pipeline.metrics import roc_auc
from pipeline.models import builtin_path, load_fasttext
from stages.quality import STAGE, QualitySettings

JUDGED = Path(__file__).parents[2] / ".." / "shared" / "data" / "quality" / "web_human_judged.jsonl.gz"

EDITED = (
    "The cathedral was begun in 1174 under the direction of the architect William of Sens, who had worked in northern "
    "France, and its choir was completed ten years later. The new building replaced an older church that had burned "
    "down, and its pointed arches and ribbed vaults were among the first to be built in the country. Historians have "
    "described it as the beginning of a style that spread to most of the large churches of the following century."
)
MENU = (
    "Home | Products | Cart (0) | Login | Register\nClick here to see all items\nSort by: Price Name Rating\n"
    "Add to cart\nAdd to cart\nAdd to cart\nBack to top | Contact us | Privacy policy | © 2014. All rights reserved"
)


@pytest.fixture(scope="module")
def model():
    return load_fasttext(builtin_path("builtin/quality-en"))


def measured(model, texts, **settings):
    docs = pa.table({"text": pa.array(texts, pa.large_string())})
    return STAGE.measure(docs, QualitySettings(**settings), {"model": model})


def test_edited_prose_scores_high_and_a_menu_low(model):
    table = measured(model, [EDITED, MENU])
    assert table.schema == STAGE.adds
    edited, menu = table["quality_score"].to_pylist()
    assert edited > 0.8
    assert menu < QualitySettings().min_score


def test_line_breaks_and_spaces_do_not_count(model):
    scores = measured(model, [EDITED, EDITED.replace(" ", "\n\n")])["quality_score"].to_pylist()
    assert scores[0] == scores[1]


def test_low_scores_are_dropped_with_value_and_threshold():
    table = pa.table({"quality_score": [0.2, 0.1999, 1.0]})
    kept, dropped, best = STAGE.judge(table, QualitySettings(min_score=0.2)).to_pylist()
    assert kept["reason"] is None
    assert best["reason"] is None
    assert (dropped["reason"], dropped["measured"], dropped["threshold"]) == ("quality", 0.1999, 0.2)


def test_a_label_that_the_model_lacks_is_refused(model):
    with pytest.raises(ValueError, match="set `label` to one of its 2 labels"):
        measured(model, [EDITED], label="__label__cc")


def test_settings_refuse_what_they_cannot_mean():
    for wrong in ({"min_score": 1.1}, {"min_score": float("nan")}, {"label": ""}, {"sha256": "xyz"}, {"modell": "x"}):
        with pytest.raises(ValidationError):
            QualitySettings(**wrong)


def test_hostile_text_is_scored_and_batches_do_not_matter(model):
    texts = ["", "\x00", "😀" * 1000, "مرحبا " * 50, "same\n" * 100_000, "x" * 1_000_000, "</s>", EDITED, MENU]
    whole = measured(model, texts)["quality_score"].to_pylist()
    assert whole[0] == 0.0
    assert all(0.0 <= score <= 1.0 for score in whole)
    assert whole == [measured(model, [text])["quality_score"][0].as_py() for text in texts]
    assert measured(model, []).schema == STAGE.adds


@pytest.mark.skipif(not JUDGED.exists(), reason="needs shared/data/quality beside the repository")
def test_people_agree(model):
    with gzip.open(JUDGED, "rt", encoding="utf-8") as lines:
        rows = [row for row in map(json.loads, lines) if row["unanimous"]]
    scores = measured(model, [row["text"] for row in rows])["quality_score"].to_numpy()
    assert roc_auc(scores, np.array([row["label"] == 1 for row in rows])) > 0.85


def test_dot_leaders_do_not_judge_a_manual(model):
    contents = "\n".join(f"{number} The parts of the building {'. ' * 60}{number * 7}" for number in range(1, 40))
    plain = "\n".join(f"{number} The parts of the building . {number * 7}" for number in range(1, 40))
    manual = f"{contents}\n{EDITED}\n{EDITED}"
    assert measured(model, [manual], marks_once=False)["quality_score"][0].as_py() < QualitySettings().min_score
    assert measured(model, [manual])["quality_score"][0].as_py() > 0.01
    assert measured(model, [contents])["quality_score"] == measured(model, [plain])["quality_score"]
