"""A whole ablation on a small crawl: what it leaves, what it shares, and what a second call does."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pypdfium2
import pytest
from corpus import make_crawl, prose, write_recipe
from typer.testing import CliRunner

from pipeline.ablation.experiment import load_experiment
from pipeline.ablation.held_out import draw
from pipeline.ablation.noise import known_noise, unlike
from pipeline.ablation.run import ablate
from pipeline.cli import app
from pipeline.engine import Silent
from pipeline.housekeeping import find_garbage
from pipeline.run import Options

ABLATION = """\
name: dedup
question: What is near deduplication worth?
base: {recipe}
baseline: near
variants:
  near: {{}}
  none: {{without: [near_dedup]}}
held_out: {{prose: {held_out}/prose.jsonl, other: {held_out}/other.jsonl}}
held_out_bytes: 3000
model: {{preset: tiny}}
budget: {{tokens: 2048}}
seeds: 2
pools: [fixed-pool]
"""


def texts(start: int, count: int) -> str:
    return "".join(json.dumps({"text": "\n".join(prose(seed))}) + "\n" for seed in range(start, start + count))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ablation")
    recipe = write_recipe(folder, make_crawl(folder / "crawl", files=2, pages_per_file=12))
    (folder / "prose.jsonl").write_text(texts(9000, 4))
    (folder / "other.jsonl").write_text(texts(9500, 4))
    (folder / "ablation.yaml").write_text(ABLATION.format(recipe=recipe, held_out=folder))
    return folder


def call(folder: Path, *, out: str = "out", overrides: tuple[str, ...] = ()) -> tuple[dict[str, Any], list[str]]:
    lines: list[str] = []
    experiment = load_experiment(folder / "ablation.yaml", overrides=overrides)
    options = Options(out=str(folder / out), work=str(folder / "work"), runner="inline", workers=2)
    return ablate(experiment, options, progress=Silent(), told=lines.append), lines


@pytest.fixture(scope="module")
def results(place: Path) -> dict[str, Any]:
    return call(place)[0]


def without_times(found: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in found.items() if key != "environment"}


def test_every_model_is_scored_on_the_same_documents(results: dict[str, Any]) -> None:
    variants = results["pools"]["fixed-pool"]["variants"]
    assert list(variants) == ["near", "none"]
    seen = {
        (name, score["documents_sha256"])
        for variant in variants.values()
        for seed in variant["seeds"].values()
        for name, score in seed["domains"].items()
    }
    assert len(seen) == 2
    assert all(set(variant["seeds"]) == {"0", "1"} for variant in variants.values())


def test_every_variant_gets_the_same_flops_and_one_vocabulary(results: dict[str, Any]) -> None:
    variants = results["pools"]["fixed-pool"]["variants"].values()
    assert len({variant["allowance"]["flop"] for variant in variants}) == 1
    assert len({variant["tokenizer_sha256"] for variant in results["variants"].values()}) == 1


def test_the_verdict_is_of_the_macro_mean_and_says_how_sure(results: dict[str, Any]) -> None:
    found = results["pools"]["fixed-pool"]
    assert found["comparison"][-1]["domain"] == "macro mean"
    assert found["verdict"].startswith("In bits per byte, mean over domains, at 95%: none is ")
    assert results["noise"]["degrees_of_freedom"] == 2


def test_a_second_call_trains_nothing_and_gives_the_same_bytes(place: Path, results: dict[str, Any]) -> None:
    models = sorted((place / "work" / "models").glob("*/scores.json"))
    before = [path.stat().st_mtime_ns for path in models]
    again, _ = call(place)
    assert without_times(again) == without_times(results)
    assert [path.stat().st_mtime_ns for path in sorted((place / "work" / "models").glob("*/scores.json"))] == before


def test_one_more_variant_runs_only_what_is_new(place: Path, results: dict[str, Any]) -> None:
    before = set((place / "work" / "models").glob("*/scores.json"))
    more, _ = call(place, overrides=("variants.hard={without: [exact_dedup, near_dedup]}",))
    trained = set((place / "work" / "models").glob("*/scores.json")) - before
    assert 0 < len(trained) <= 2
    assert more["pools"]["fixed-pool"]["variants"]["near"] == results["pools"]["fixed-pool"]["variants"]["near"]
    manifest = json.loads((place / "out" / "runs" / "hard" / "manifest.json").read_text())
    assert all(phase["executed"] == 0 for phase in manifest["phases"] if phase["name"].startswith("extract"))


def test_the_reduced_rate_is_ranked_too(place: Path) -> None:
    found, _ = call(place, overrides=("lr_check=true",))
    assert sorted(found["lr_check"]["ranking"]) == sorted(found["lr_check"]["ranking_reduced"]) == ["near", "none"]


def test_equal_unique_pools_hold_the_same_amount(place: Path) -> None:
    found, _ = call(place, overrides=("pools=[fixed-pool, fixed-unique]",))
    unique = found["pools"]["fixed-unique"]["variants"]
    pool = found["pools"]["fixed-pool"]["variants"]
    few, more = (found["variants"][name]["counts"]["tokens"] for name in ("near", "none"))
    assert few < more
    # Whole documents are drawn by hash: equal but for a few of them.
    assert unique["none"]["allowance"]["epochs"] > pool["none"]["allowance"]["epochs"]


def test_held_out_texts_are_kept_out_of_every_variant(place: Path, tmp_path: Path, results: dict[str, Any]) -> None:
    assert all(
        any(stage["stage"] == "held_out" for stage in variant["counts"]["stages"])
        for variant in results["variants"].values()
    )
    draws = [draw({"prose": str(place / "prose.jsonl")}, tmp_path / str(n), sample_bytes=3000) for n in range(2)]
    first, second = (found["prose"].read_bytes() for found in draws)
    assert first == second
    assert results["held_out"]["prose"]["duplicated_in_raw_pool"] == 0


def test_a_held_out_text_that_the_crawl_holds_is_marked(place: Path, tmp_path: Path) -> None:
    # Pages of the crawl are prose of these seeds: see tests/pipeline/corpus.py.
    (tmp_path / "copies.jsonl").write_text(texts(0, 3))
    found, _ = call(place, out="copies", overrides=(f"held_out.copies={tmp_path / 'copies.jsonl'}",))
    assert found["held_out"]["copies"]["duplicated_in_raw_pool"] > 0
    split = found["pools"]["fixed-pool"]["variants"]["near"]["seeds"]["0"]["split"]
    assert split["copies"]["duplicated"] is not None
    assert split["prose"]["duplicated"] is None


def test_the_plan_counts_the_models_of_a_ladder_and_of_planted_texts(place: Path, results: dict[str, Any]) -> None:
    arguments = [str(place / "ablation.yaml"), "--out", str(place / "out"), "--work", str(place / "work"), "--json"]
    more = [
        "--set", "ladder={presets: [tiny, pico], horizons: [1, 2], seeds: 2}",
        "--set", f"memorisation={{canaries: {place}/other.jsonl, tokens: 4096}}",
    ]  # fmt: skip
    plain, asked = (
        json.loads(CliRunner().invoke(app, ["ablate", "plan", *arguments, *options]).stdout) for options in ([], more)
    )
    assert plain["training"]["further"] == []
    assert [(group["what"], group["models"]) for group in asked["training"]["further"]] == [
        ("ladder", 2 * 2 * 2),
        ("memorisation", 2),
    ]
    extra = sum(group["seconds"] for group in asked["training"]["further"])
    assert asked["training_seconds"] - plain["training_seconds"] == pytest.approx(extra / asked["workers"])
    assert extra > 0
    both = ["--set", "pools=[fixed-pool, fixed-unique]"]
    cut = json.loads(CliRunner().invoke(app, ["ablate", "plan", *arguments, *both]).stdout)
    assert [(group["what"], group["models"]) for group in cut["training"]["further"]] == [("fixed-unique", 4)]
    wall = ["--set", "budget={equal: wall, seconds: 2}"]
    timed = json.loads(CliRunner().invoke(app, ["ablate", "plan", *arguments, *wall]).stdout)
    assert timed["training"]["seconds_left"] == pytest.approx(4 * 2, rel=0.2)
    # The noise that the first ablation left was measured in the same way.
    assert plain["noise"]["unlike"] == []


def test_what_an_ablation_stands_on_is_no_garbage(results: dict[str, Any], place: Path) -> None:
    del results
    names = {item.name for item in find_garbage(str(place / "work"), [str(place / "out")]).garbage}
    models = {f"models/{path.parent.name}" for path in (place / "work" / "models").glob("*/scores.json")}
    told = json.loads((place / "out" / "results.json").read_text())["environment"]["fixed-pool"].values()
    mine = {f"models/{one['model']}" for one in told}
    assert len(mine) == 4
    assert mine <= models
    assert not mine & names


def test_noise_that_was_measured_otherwise_is_told(results: dict[str, Any], place: Path) -> None:
    experiment = load_experiment(place / "ablation.yaml")
    noise = results["noise"]
    assert unlike(noise, experiment, tokens=noise["tokens"]) == []
    assert unlike(noise, experiment, tokens=10 * noise["tokens"]) == [f"{noise['tokens']:,} tokens a model"]
    # Of models that were trained otherwise nothing is known.
    models = place / "work" / "models"
    assert known_noise(models, experiment.model)
    assert known_noise(models, experiment.model.model_copy(update={"optimizer": "muon"})) is None
    assert known_noise(models, experiment.model.model_copy(update={"learning_rate": 0.5})) is None
    more = experiment.model_copy(update={"held_out_bytes": 5000})
    assert unlike(noise, more, tokens=noise["tokens"]) == ["scored on 3,000 bytes a domain"]
    one = experiment.model_copy(update={"held_out": {"prose": "p.jsonl"}})
    assert unlike(noise, one, tokens=noise["tokens"]) == ["scored on other, prose"]


def test_the_plan_names_what_is_shared_and_what_is_left(place: Path, results: dict[str, Any]) -> None:
    del results
    arguments = [str(place / "ablation.yaml"), "--out", str(place / "out"), "--work", str(place / "work")]
    ended = CliRunner().invoke(app, ["ablate", "plan", *arguments, "--set", "variants.late={without: [exact_dedup]}"])
    assert ended.exit_code == 0, ended.output
    assert "3 variants, near, none, late" in ended.output
    assert "cached                   for all" in ended.output
    ended = CliRunner().invoke(app, ["ablate", "plan", *arguments, "--json"])
    found = json.loads(ended.output)
    assert found["training"]["models"] == found["training"]["trained"] == 4
    assert found["training_seconds"] == 0
    assert found["noise"]["sigma"] > 0
    half, likely = found["noise"]["smallest_resolved"].values()
    assert 0 < half < likely


def test_the_command_prints_the_verdict_last(place: Path) -> None:
    arguments = [str(place / "ablation.yaml"), "--out", str(place / "out"), "--work", str(place / "work")]
    ended = CliRunner().invoke(app, ["ablate", *arguments, "--runner", "inline", "--workers", "2"])
    assert ended.exit_code == 0, ended.output
    assert "What is near deduplication worth?" in ended.output
    assert "In bits per byte, mean over domains" in ended.output
    wrong = CliRunner().invoke(app, ["ablate", str(place / "nothing.yaml")])
    assert wrong.exit_code == 2


@pytest.fixture(scope="module")
def page(place: Path, results: dict[str, Any]) -> Path:
    del results
    return place / "out" / "report.html"


def test_the_page_says_the_verdict_first_and_stands_alone(page: Path) -> None:
    html = page.read_text()
    assert html.index("In bits per byte, mean over domains") < html.index("<table")
    assert not re.search(r"@import|url\(|<script|https?://(?!site|trouble)", html)
    assert set(re.findall(r'href="#([a-z]+)"', html)) <= set(re.findall(r'id="([a-z0-9]+)"', html))
    assert re.search(r"In none, not in near: [1-9]", html), "the near duplicates that one variant keeps are shown"
    assert "<b>near_dedup</b> near_dup, measured" in html


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")
@pytest.mark.parametrize("width", [390, 1200])
def test_a_browser_shows_it_without_sideways_scrolling(page: Path, tmp_path: Path, width: int) -> None:
    probe = tmp_path / "probe.html"
    frame = f'<iframe id="f" src="file://{page}" style="width:{width}px;height:900px;border:0"></iframe>'
    probe.write_text(
        f"<html><body style='margin:0'>{frame}<script>document.getElementById('f').onload=function(){{"
        "var d=this.contentDocument.documentElement;document.title=d.scrollWidth+' '+d.querySelectorAll('svg').length;"
        "};</script></body></html>"
    )
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files", "--dump-dom"]
    command = ["chromium", *options, f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=3000"]
    command.append(f"file://{probe}")
    shown = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    found = re.search(r"<title>(\d+) (\d+)</title>", shown)
    assert found, shown[:500]
    assert int(found.group(1)) <= width
    assert int(found.group(2)) > 0, "intervals and curves are drawn"


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")
def test_it_can_be_printed_and_nothing_is_cut_off(page: Path, tmp_path: Path) -> None:
    printed = tmp_path / "report.pdf"
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    command = ["chromium", *options, "--no-pdf-header-footer", f"--print-to-pdf={printed}", f"file://{page}"]
    subprocess.run(command, capture_output=True, timeout=120, check=True)
    document = pypdfium2.PdfDocument(printed)
    words = ""
    for sheet in document:
        width, _ = sheet.get_size()
        text = sheet.get_textpage()
        words += text.get_text_bounded()
        right = max((text.get_charbox(place)[2] for place in range(text.count_chars())), default=0.0)
        assert right <= width, "text beyond the edge of the paper"
    # What does not fit is not in the PDF at all: the last column of the widest table must be.
    verdicts = re.findall(r'<td class="says [^"]*">([^<(]*)', page.read_text())
    assert verdicts
    told = " ".join(words.split())
    assert sum(told.count(verdict) for verdict in {verdict.strip() for verdict in verdicts}) >= len(verdicts)
    assert told.startswith("dedup What is near deduplication worth? In bits per byte")
    document.close()
