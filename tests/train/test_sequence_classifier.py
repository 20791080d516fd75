"""A Hugging Face classifier as a measure: a tiny one, made here, on the CPU."""

import json
import random
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

transformers = pytest.importorskip("transformers", reason="needs the extra `classifiers`")

from pipeline.recipe import absolute, load_recipe  # noqa: E402
from pipeline.resources import ResourceError, identify, load_resources  # noqa: E402
from pipeline.run import Options, run  # noqa: E402
from stages.quality import STAGE, QualitySettings  # noqa: E402
from train.sequence_classifier import BATCH_ROWS, SequenceClassifier  # noqa: E402

WORDS = [f"word{number}" for number in range(50)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A BERT of two small layers with random weights, and a vocabulary of fifty words."""
    folder = tmp_path_factory.mktemp("classifier")
    (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]) + "\n")
    transformers.BertTokenizer(vocab=str(folder / "vocab.txt"), model_max_length=64).save_pretrained(folder)
    torch.manual_seed(1)
    config = transformers.BertConfig(
        vocab_size=55, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=64, id2label={0: "poor", 1: "good"}, label2id={"poor": 0, "good": 1},
        initializer_range=1.0,
    )  # fmt: skip
    transformers.BertForSequenceClassification(config).save_pretrained(folder)
    return folder


def texts(rows):
    rng = random.Random(0)
    return [" ".join(rng.choices(WORDS, k=rng.randrange(1, 90))) for _ in range(rows)]


def settings(folder, **changed):
    return QualitySettings(model=f"hf:{folder}", label="__label__good", **changed)


def loaded(folder):
    needed = STAGE.resources(settings(folder))
    return load_resources(needed, expected={"model": identify(needed[0])})


def test_a_stage_scores_by_it_and_batches_do_not_matter(folder):
    model = loaded(folder)
    some = [*texts(70), ""]

    def scores(part):
        docs = pa.table({"text": pa.array(part, pa.large_string())})
        return STAGE.measure(docs, settings(folder), model)["quality_score"].to_pylist()

    whole = scores(some)
    assert len(some) > 2 * BATCH_ROWS
    assert len(set(whole)) > 20  # the random model does tell texts apart
    assert whole[-1] == 0.0
    assert scores(some[::-1]) == whole[::-1]
    assert [score for text in some for score in scores([text])] == whole


def test_it_says_what_transformers_says(folder):
    line = texts(1)[0]
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    with torch.inference_mode():
        logits = model(**tokenizer(line, return_tensors="pt", truncation=True, max_length=64)).logits[0]
    wanted = logits.softmax(-1).numpy()
    labels, found = SequenceClassifier(folder).predict([line], k=2)
    assert found[0][labels[0].index("__label__good")] == pytest.approx(float(wanted[1]), abs=1e-5)
    assert np.sum(found[0]) == pytest.approx(1.0)


def test_the_folder_is_known_by_its_files_and_a_pin_is_held(folder, tmp_path):
    (resource,) = STAGE.resources(settings(folder))
    pinned = identify(resource)
    assert identify(STAGE.resources(settings(folder, sha256=pinned))[0]) == pinned
    with pytest.raises(ResourceError, match=f"its sha256 is {pinned}, the recipe expects 0{{64}}"):
        identify(STAGE.resources(settings(folder, sha256="0" * 64))[0])
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in folder.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    assert identify(STAGE.resources(settings(copy))[0]) == pinned
    (copy / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-4000])
    assert identify(STAGE.resources(settings(copy))[0]) != pinned
    with pytest.raises(ValueError, match="no sequence classifier that transformers can open"):
        SequenceClassifier(copy)


def test_a_folder_without_weights_is_refused_and_places_are_told_from_the_root(tmp_path, monkeypatch):
    with pytest.raises(ResourceError, match=r"no folder with a config\.json"):
        identify(STAGE.resources(settings(tmp_path))[0])
    monkeypatch.chdir(tmp_path)
    assert absolute("hf:models/one") == f"hf:{tmp_path}/models/one"


def test_a_recipe_names_it_and_its_weights_are_part_of_the_key(folder, tmp_path):
    """Through a whole run: scored, stored, and measured again when the weights change, the extraction not."""
    lines = tmp_path / "lines.jsonl"
    lines.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts(8)))
    recipe = tmp_path / "r.yaml"
    recipe.write_text(
        f'name: t\ninput: {{paths: ["{lines}"]}}\nstages:\n  - {{type: extract, engine: resiliparse}}\n'
        f'  - {{type: quality, model: "hf:{tmp_path / "model"}", label: __label__good, min_score: 0.0}}\n'
    )
    shutil.copytree(folder, tmp_path / "model")
    options = Options(out=str(tmp_path / "out"), work=str(tmp_path / "work"), runner="inline")

    def scores() -> tuple[list[float], dict[str, int]]:
        manifest = run(load_recipe(recipe), options)
        kept = pq.read_table(tmp_path / "out" / "kept")["quality_score"].to_pylist()
        return kept, {phase["name"]: phase["executed"] for phase in manifest["phases"]}

    first, _ = scores()
    assert len(set(first)) > 1
    assert all(0 <= score <= 1 for score in first)
    assert scores() == (first, dict.fromkeys(scores()[1], 0))
    torch.manual_seed(2)
    model = transformers.BertForSequenceClassification.from_pretrained(tmp_path / "model")
    torch.nn.init.normal_(model.classifier.weight)
    model.save_pretrained(tmp_path / "model")
    changed, executed = scores()
    assert changed != first
    assert executed["measure-quality"] == 1
    assert executed["extract"] == 0
