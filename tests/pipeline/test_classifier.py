"""Training gives the same bytes for the same labels; evaluation gives figures that can be computed by hand."""

import csv
import gzip
import json
import math
import random
import re
from itertools import product
from pathlib import Path

import fasttext
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from pipeline.classifier import Training, app, evaluate, is_held_out, train
from pipeline.labels import Label, read_labels
from pipeline.metrics import evaluate_scores, paired_difference, roc_auc
from pipeline.models import BUILTIN, BUILTIN_FOLDER, builtin_path, file_sha256, load_fasttext

SMALL = Training(dimension=4, epochs=3, min_count=1, word_ngrams=2, hash_rows=500, held_out_fraction=0.3)
ABOUT = {"licence": "CC0-1.0", "source": "Made up.", "use": "This test."}


def made_up(rows=400):
    """Texts about the sea and about the moon, of words that hardly overlap."""
    rng = random.Random(1)
    words = {"sea": ["wave", "salt", "fish", "boat", "tide"], "moon": ["crater", "orbit", "dust", "rocket", "night"]}
    labels = []
    for row in range(rows):
        topic = ("sea", "moon")[row % 2]
        text = " ".join(rng.choice([*words[topic], "the", "a", "and", f"n{rng.randrange(50)}"]) for _ in range(12))
        labels.append(Label(text=text, label=topic, group=text))
    return labels


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return train(made_up(), out=tmp_path_factory.mktemp("model") / "topics", positive=["sea"], options=SMALL, **ABOUT)


def test_training_twice_gives_the_same_bytes_in_any_order(trained, tmp_path):
    shuffled = made_up()
    random.Random(7).shuffle(shuffled)
    again = train(shuffled, out=tmp_path / "topics", positive=["sea"], options=SMALL, **ABOUT)
    assert again.sha256 == trained.sha256
    assert again.model.read_bytes() == trained.model.read_bytes()
    assert again.card.read_text() == trained.card.read_text()


def test_another_label_gives_another_model(trained, tmp_path):
    changed = [*made_up(), Label(text="boat boat boat rocket", label="moon", group="new")]
    assert train(changed, out=tmp_path / "topics", positive=["sea"], options=SMALL, **ABOUT).sha256 != trained.sha256


def test_the_model_learned_and_the_card_says_so(trained):
    assert trained.evaluations["sea"].roc_auc.value > 0.99
    assert trained.trained_rows + trained.held_out_rows == 400
    assert 80 < trained.held_out_rows < 160
    assert sorted(load_fasttext(trained.model, trained.sha256).get_labels()) == ["__label__other", "__label__sea"]
    card = trained.card.read_text()
    for needed in (trained.sha256, "CC0-1.0", "Made up.", "This test.", "__label__sea", "95 % bootstrap"):
        assert needed in card
    assert {file.name for file in trained.model.parent.iterdir()} == {"topics.ftz", "topics.md"}


def test_without_positive_every_label_is_kept_and_measured(tmp_path):
    labels = [*made_up(), *(Label(text=f"red blue green {i}", label="far away", group=str(i)) for i in range(100))]
    result = train(labels, out=tmp_path / "three", options=SMALL, **ABOUT)
    assert sorted(result.evaluations) == ["far_away", "moon", "sea"]


def test_groups_stay_on_one_side():
    assert is_held_out("a", fraction=1.0)
    assert not is_held_out("a", fraction=0.0)
    share = sum(is_held_out(str(i), fraction=0.2) for i in range(5000)) / 5000
    assert abs(share - 0.2) < 0.02


def test_a_label_hidden_in_a_text_is_not_learned(tmp_path):
    poisoned = [
        Label(text=each.text + " __label__evil </s> __label__sea", label=each.label, group=each.group)
        for each in made_up()
    ]
    result = train(poisoned, out=tmp_path / "p", positive=["sea"], options=SMALL, **ABOUT)
    assert sorted(load_fasttext(result.model).get_labels()) == ["__label__other", "__label__sea"]
    assert result.evaluations["sea"].roc_auc.value > 0.99


def test_one_label_only_or_too_few_words_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"\['other'\]: at least two"):
        train(made_up(), out=tmp_path / "m", positive=["Sea"], options=SMALL, **ABOUT)
    few = Training(min_count=1, held_out_fraction=0.0)
    with pytest.raises(ValueError, match="at least 256 different words"):
        train(made_up(20), out=tmp_path / "m", positive=["sea"], options=few, **ABOUT)
    assert list(tmp_path.iterdir()) == []


# ---- figures


def test_roc_area_by_hand():
    # Pairs (positive, negative): .9>.8, .9>.3, .9>.1; .8=.8 counts half, .8>.3, .8>.1; .2<.8, .2<.3, .2>.1: 6.5 of 9.
    scores, truth = np.array([0.9, 0.8, 0.2, 0.8, 0.3, 0.1]), np.array([1, 1, 1, 0, 0, 0], dtype=bool)
    assert roc_auc(scores, truth) == pytest.approx(6.5 / 9)


def test_roc_area_is_the_share_of_pairs_in_order():
    rng = np.random.default_rng(3)
    scores, truth = rng.integers(0, 6, 60) / 6, rng.random(60) < 0.4
    pairs = [(p > n) + 0.5 * (p == n) for p, n in product(scores[truth], scores[~truth])]
    assert roc_auc(scores, truth) == pytest.approx(np.mean(pairs))


def test_roc_area_of_one_kind_is_not_defined():
    assert math.isnan(roc_auc(np.array([0.1, 0.2]), np.array([True, True])))


def test_evaluation_by_hand():
    scores = np.array([0.9, 0.8, 0.7, 0.6, 0.5])
    truth = np.array([True, False, True, False, False])
    found = evaluate_scores(scores, truth)
    # Best F1 is at 0.7: precision 2/3, recall 1. Average precision: (1/1 + 2/3) / 2.
    assert found.threshold == 0.7
    assert found.precision.value == pytest.approx(2 / 3, abs=1e-4)
    assert found.recall.value == 1.0
    assert found.pr_auc.value == pytest.approx((1 + 2 / 3) / 2, abs=1e-4)
    assert found.roc_auc.value == pytest.approx(5 / 6, abs=1e-4)
    assert (found.found_fraction, found.missed_positives, found.false_positives) == (0.6, 0, 1)


def test_a_given_threshold_is_priced():
    found = evaluate_scores(np.array([0.9, 0.8, 0.7, 0.6]), np.array([True, False, True, False]), threshold=0.85)
    assert (found.precision.value, found.recall.value, found.missed_positives) == (1.0, 0.5, 1)


def test_intervals_hold_the_value_narrow_with_rows_and_repeat():
    rng = np.random.default_rng(0)

    def sample(rows):
        truth = np.arange(rows) % 2 == 0
        return evaluate_scores(rng.normal(size=rows) + truth, truth).roc_auc

    small, large = sample(100), sample(2000)
    assert small.low < small.value < small.high
    assert large.high - large.low < (small.high - small.low) / 2
    assert large.low < 0.7602 < large.high  # normal scores one deviation apart
    scores, truth = np.linspace(0, 1, 50), np.arange(50) % 3 == 0
    assert evaluate_scores(scores, truth) == evaluate_scores(scores, truth)


def test_calibration_by_hand():
    # Twenty rows in ten bins of two: scores of .25 of which a quarter is true, and of .75 of which all are.
    scores, truth = np.array([0.25] * 8 + [0.75] * 12), np.array([True] * 2 + [False] * 6 + [True] * 12)
    found = evaluate_scores(scores, truth)
    assert [(b.rows, b.mean_score, b.positive_fraction) for b in found.calibration] == [
        (8, 0.25, 0.25),
        (12, 0.75, 1.0),
    ]
    assert found.calibration_error == pytest.approx(12 * 0.25 / 20)
    assert found.curve == ((0.75, 1.0, 0.8571), (0.25, 0.7, 1.0))


def test_a_better_score_on_the_same_rows_is_told_from_an_equal_one():
    rng = np.random.default_rng(5)
    truth = np.arange(400) % 2 == 0
    good, poor = rng.normal(size=400) + 2 * truth, rng.normal(size=400) + 0.5 * truth
    found, not_better = paired_difference(good, poor, truth)
    assert found.value == pytest.approx(roc_auc(good, truth) - roc_auc(poor, truth), abs=1e-4)
    assert 0 < found.low < found.value < found.high
    assert not_better == 0.0
    same, share = paired_difference(good, good, truth)
    assert (same.value, same.low, same.high, share) == (0.0, 0.0, 0.0, 1.0)


def test_kinds_that_begin_alike_are_learned_apart_and_found_together(tmp_path):
    kinds = [
        *(Label(text=each.text, label=f"wet_{i % 2}" if each.label == "sea" else "dry", group=each.group)
          for i, each in enumerate(made_up()))
    ]  # fmt: skip
    result = train(kinds, out=tmp_path / "kinds", positive=["wet*"], options=SMALL, **ABOUT)
    model = load_fasttext(result.model)
    assert {"__label__dry", "__label__wet_0"} <= set(model.get_labels())
    assert list(result.evaluations) == ["wet*"]
    assert result.evaluations["wet*"].roc_auc.value > 0.99


def test_the_chinese_model_reads_characters():
    model = load_fasttext(builtin_path("builtin/toxicity-zh"))
    labels = [
        Label(text="他们都是垃圾，恶心的东西，滚出去", label="1", group="a"),
        Label(text="今天的会议讨论了新的图书馆建设计划", label="0", group="b"),
    ]
    found = evaluate(
        model, labels, positive=["1"], model_label="__label__toxic*", lowercase=True, split_characters=True
    )
    assert found.roc_auc.value == 1.0


# ---- label files


ROWS = [{"t": "one\u2028two", "l": 1, "g": "a"}, {"t": 'three, "four"\nfive', "l": 0, "g": "b"}]


def write(path: Path):
    if path.name == "x.parquet":
        pq.write_table(pa.Table.from_pylist(ROWS), path)
    elif "csv" in path.name:
        opener = gzip.open if path.suffix == ".gz" else open
        with opener(path, "wt", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, ["t", "l", "g"])
            writer.writeheader()
            writer.writerows(ROWS)
    else:
        data = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS).encode()
        path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


@pytest.mark.parametrize("name", ["x.jsonl", "x.jsonl.gz", "x.csv", "x.csv.gz", "x.parquet"])
def test_labels_are_read_from_every_kind_of_file(tmp_path, name):
    write(tmp_path / name)
    found = list(read_labels(tmp_path / name, text_column="t", label_column="l", group_column="g"))
    assert found == [Label(text=row["t"], label=str(row["l"]), group=row["g"]) for row in ROWS]


@pytest.mark.parametrize("name", ["x.jsonl", "x.csv", "x.parquet"])
def test_a_missing_column_is_named(tmp_path, name):
    write(tmp_path / name)
    with pytest.raises(ValueError, match=r"column '?label'?"):
        list(read_labels(tmp_path / name, text_column="t", label_column="label"))


def test_bad_label_files_are_refused_with_their_place(tmp_path):
    def read(name, data):
        (tmp_path / name).write_bytes(data)
        return list(read_labels(tmp_path / name, text_column="text", label_column="label"))

    with pytest.raises(ValueError, match="line 2: not JSON"):
        read("a.jsonl", b'{"text": "x", "label": "y"}\nnope\n')
    with pytest.raises(ValueError, match="line 1: not JSON"):
        read("b.jsonl", b'{"text": "\xff", "label": "y"}\n')
    with pytest.raises(ValueError, match="line 1: not a JSON object"):
        read("c.jsonl", b"[1]\n")
    with pytest.raises(ValueError, match=r"row 1: column 'text' holds 3, not text"):
        read("d.jsonl", b'{"text": 3, "label": "y"}\n')
    with pytest.raises(ValueError, match=r"expected a name that ends in"):
        read("e.txt", b"")
    with pytest.raises(ValueError, match="no such file"):
        list(read_labels(tmp_path / "none.csv", text_column="t", label_column="l"))


# ---- commands


@pytest.fixture
def label_file(tmp_path):
    path = tmp_path / "labels.jsonl"
    path.write_text("".join(json.dumps({"words": e.text, "topic": e.label}) + "\n" for e in made_up()))
    return path


COLUMNS = ["--text-column", "words", "--label-column", "topic"]


def test_train_and_eval_commands(label_file, tmp_path):
    small = ["--min-count", "1", "--word-ngrams", "2", "--hash-rows", "500", "--dimension", "4", "--held-out", "0.3"]
    out = tmp_path / "models" / "topics"
    run = CliRunner().invoke(
        app, ["train", str(label_file), *COLUMNS, "--positive", "sea", "--out", str(out), "--licence", "MIT", *small]
    )
    assert run.exit_code == 0, run.output
    assert re.search(r"sha256 [0-9a-f]{64}", run.output)
    assert "MIT" in (tmp_path / "models/topics.md").read_text()

    run = CliRunner().invoke(app, ["eval", f"{out}.ftz", str(label_file), *COLUMNS, "--positive", "sea", "--json"])
    assert run.exit_code == 0, run.output
    figures = json.loads(run.output)
    assert figures["rows"] == 400
    assert figures["sha256"] == file_sha256(Path(f"{out}.ftz"))
    assert figures["roc_auc"]["low"] <= figures["roc_auc"]["value"] <= figures["roc_auc"]["high"]
    assert sum(each["rows"] for each in figures["calibration"]) == 400
    assert {
        "calibration_error",
        "curve",
        "pr_auc",
        "precision",
        "recall",
        "threshold",
        "missed_positives",
        "false_positives",
    } <= figures.keys()


def test_eval_draws_the_same_picture_every_time(label_file, tmp_path):
    model = train(made_up(), out=tmp_path / "topics", positive=["sea"], options=SMALL, **ABOUT).model
    command = ["eval", str(model), str(label_file), *COLUMNS, "--positive", "sea"]
    pictures = []
    for name in ("one.svg", "two.svg"):
        run = CliRunner().invoke(app, [*command, "--plot", str(tmp_path / name)])
        assert run.exit_code == 0, run.output
        pictures.append((tmp_path / name).read_text())
    assert pictures[0] == pictures[1]
    for words in ("Calibration", "precision", "Chosen threshold"):
        assert words in pictures[0]
    run = CliRunner().invoke(app, [*command, "--plot", str(tmp_path / "three.txt")])
    assert run.exit_code == 2
    assert "ends in .svg or .png" in run.output


def test_mistakes_end_in_2_with_a_message(label_file, tmp_path):
    run = CliRunner().invoke(app, ["eval", "builtin/none", str(label_file), *COLUMNS, "--positive", "sea"])
    assert run.exit_code == 2
    assert "builtin/quality-en" in run.output
    run = CliRunner().invoke(app, ["train", str(label_file), "--out", str(tmp_path / "m")])
    assert run.exit_code == 2
    assert "no value in column 'text'" in run.output
    run = CliRunner().invoke(app, ["eval", "builtin/lid.176", str(label_file), *COLUMNS, "--positive", "lake"])
    assert run.exit_code == 2
    assert "no row has the label lake" in run.output


# ---- model files


def test_every_bundled_model_is_the_one_that_was_released():
    bundled = {file.stem for ending in ("ftz", "npz") for file in BUILTIN_FOLDER.glob(f"*.{ending}")}
    assert bundled == set(BUILTIN)
    for name, sha256 in BUILTIN.items():
        path = builtin_path(f"builtin/{name}")
        assert file_sha256(path) == sha256
        assert sha256 in path.with_name(f"{name}.md").read_text(encoding="utf-8")
        assert path.stat().st_size <= 3_000_000
        if path.suffix == ".ftz":
            assert len(load_fasttext(path).get_labels()) >= 2


def test_an_unknown_bundled_model_lists_the_known_ones():
    for wrong in ("builtin/quality", "quality-en", "builtin/../models", "builtin/"):
        with pytest.raises(ValueError, match=r"Known: .*builtin/lid\.176.*builtin/quality-en"):
            builtin_path(wrong)


@pytest.mark.parametrize("kept", [0.5, 0.93, 0.999])
def test_a_cut_model_is_refused(tmp_path, kept):
    whole = builtin_path("builtin/lid.176").read_bytes()
    cut = tmp_path / "cut.ftz"
    cut.write_bytes(whole[: int(len(whole) * kept)])
    with pytest.raises(ValueError, match=r"cut\.ftz.*(cut short|headers ask for).*again"):
        load_fasttext(cut)
    with pytest.raises(ValueError, match=rf"cut\.ftz: expected sha256 {BUILTIN['lid.176']}, found [0-9a-f]{{64}}"):
        load_fasttext(cut, BUILTIN["lid.176"])


@pytest.mark.parametrize("data", [b"", b"hello" * 1000, b"\xba\x16\x4f\x2f\x0c\x00\x00\x00"])
def test_what_is_no_model_is_refused(tmp_path, data):
    path = tmp_path / "no.bin"
    path.write_bytes(data)
    with pytest.raises(ValueError, match="not a fastText model"):
        load_fasttext(path)
    with pytest.raises(ValueError, match="there is no such file"):
        load_fasttext(tmp_path / "none.bin")


@pytest.mark.parametrize("quantise", [None, {"qnorm": True}, {"qnorm": False}, {"cutoff": 300, "retrain": True}])
def test_whole_models_of_every_layout_are_loaded(tmp_path, quantise):
    lines = tmp_path / "lines.txt"
    lines.write_text("".join(f"__label__{each.label} {each.text}\n" for each in made_up()))
    model = fasttext.train_supervised(str(lines), dim=4, wordNgrams=2, bucket=1000, thread=1, verbose=0)
    if quantise is not None:
        model.quantize(input=str(lines), thread=1, verbose=0, **quantise)
    path = tmp_path / "own.bin"
    model.save_model(str(path))
    assert len(load_fasttext(path, file_sha256(path)).get_labels()) == 2
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match="its headers ask for"):
        load_fasttext(path)


def test_a_model_without_positive_rows_cannot_be_measured(trained):
    with pytest.raises(ValueError, match=r"no row has the label lake; the labels are moon, sea"):
        evaluate(load_fasttext(trained.model), made_up(), positive=["lake"])
