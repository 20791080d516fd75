"""How much models give back of what they saw, variant by variant: planted texts, and samples against the raw pool.

    <out>/canaries/planted/copies-016.jsonl    texts that stand in the input of every variant, 16 times each
    <out>/canaries/texts/copies-016.jsonl      the same texts once: what is scored
    <out>/canaries/texts/controls.jsonl        texts of the same file that nobody saw
    <out>/runs/VARIANT.canaries                a run of its own, and models of its own: no verdict is of these

Carlini et al. 2019 plant canaries, Lee et al. 2022 (section 6.1) count tokens of unprompted samples that lie inside a
50-token run of the training text. Deduplication has to lower both. A variant may drop planted texts by another rule:
`written` says how many copies of a text its shards hold in the mean, and `epochs` how often a model went through them.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from scipy import stats

from pipeline.ablation.experiment import Experiment, Memorisation, Variant
from pipeline.ablation.training import Job, train_job, write_json
from pipeline.ablation.variants import Places
from pipeline.engine import Engine, key_of
from pipeline.keys import source_key
from pipeline.parts import Task
from pipeline.phases.overlap import covered
from tokenizer.bpe import Tokenizer, encode, load
from tokenizer.shards import ShardSet
from train.evaluate import read_domain
from train.export import load_model
from train.generate import SampleSettings, continuations
from train.model import Transformer

GROUP = "canaries"
CONTROLS = "controls"
#: Shorter texts would rarely have the 64 tokens that prompt and continuation take by default.
_LEAST_BYTES = 512
_DRAW_SEED = 0xCA7A
#: Samples drawn together: part of what they are, because they share one stream of dice.
_BATCH = 64
#: Lee et al. 2022, section 6.1.
_TOP_K = 50


def _label(copies: int) -> str:
    return f"copies-{copies:03d}"


def plant(asked: Memorisation, folder: Path) -> dict[str, Path]:
    """Write what is planted and what is scored; the files of scored texts by label (`copies-016`, …, `controls`).

    Texts are drawn by a keyed hash. ValueError where the file has too few that are long enough.
    """
    texts = sorted({text for text in read_domain(Path(asked.canaries)) if len(text.encode()) >= _LEAST_BYTES})
    needed = asked.texts * (len(asked.copies) + 1)
    if len(texts) < needed:
        raise ValueError(
            f"memorisation.canaries: {asked.canaries} has {len(texts)} different texts of {_LEAST_BYTES} bytes or "
            f"more, and {needed} are needed: {asked.texts} for each of {len(asked.copies)} numbers of copies and as "
            "controls. Lower `texts`, or give more"
        )
    chosen = np.random.default_rng(_DRAW_SEED).permutation(len(texts))[:needed].reshape(-1, asked.texts)
    places = {}
    for copies, rows in zip((*asked.copies, 0), chosen, strict=True):
        label = _label(copies) if copies else CONTROLS
        lines = [json.dumps({"text": texts[row]}) + "\n" for row in rows]
        places[label] = folder / "texts" / f"{label}.jsonl"
        _write(places[label], "".join(lines))
        if copies:
            _write(folder / "planted" / f"{label}.jsonl", "".join(line for _ in range(copies) for line in lines))
    return places


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def with_canaries(experiment: Experiment, folder: Path) -> Experiment:
    """The same ablation with the planted texts in the input of every variant."""
    planted = sorted(str(path) for path in (folder / "planted").glob("*.jsonl"))
    asked = experiment.memorisation
    assert asked is not None
    wanted = [path for path in planted if Path(path).stem in map(_label, asked.copies)]
    variants = {
        name: Variant.model_validate({**variant.model_dump(by_alias=True), "add_input": [*variant.add_input, *wanted]})
        for name, variant in experiment.variants.items()
    }
    return experiment.model_copy(update={"variants": variants})


def probe(job: Job, identity: str, *, asked: dict[str, Any]) -> dict[str, Any]:
    """Train the model if it is not there, and see what it gives back: `scores`, `exact`, and `samples` (token ids)."""
    scores = train_job(job, identity)
    settings = Memorisation.model_validate(asked)
    place = Path(job.models) / identity / f"given-back-{key_of(asked, source_key(['train.generate', __name__]))}.json"
    if not place.exists():
        model = load_model(Path(job.models) / identity / "model", device=job.device)
        tokenizer = job.vocabulary()
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        texts = {name: read_domain(Path(path)) for name, path in job.domains}
        given = {
            "exact": {name: _continued(model, tokenizer, found, settings) for name, found in texts.items()},
            "samples": _samples(model, tokenizer, settings, job.seed),
        }
        torch.set_num_threads(threads)
        write_json(place, given)
    return {"scores": {"domains": scores["domains"]}, **json.loads(place.read_text())}


def _continued(model: Transformer, tokenizer: Tokenizer, texts: Sequence[str], asked: Memorisation) -> dict[str, int]:
    """How many texts a model continues exactly, greedily, of those that are long enough."""
    ids, _ = encode(pa.array(texts, pa.large_string()), tokenizer)
    rows = [np.frombuffer(row.as_buffer(), tokenizer.dtype).astype(np.int64) for row in ids]
    prompt, wanted = asked.prompt_tokens, asked.continuation_tokens
    long = [row[: prompt + wanted] for row in rows if len(row) >= prompt + wanted]
    if not long:
        return {"prompted": 0, "exact": 0}
    context = model.settings.max_position_embeddings
    if prompt + wanted > context:
        raise ValueError(
            f"memorisation: prompt_tokens and continuation_tokens are {prompt + wanted} together, and the model sees "
            f"{context}: lower them, or take a larger preset"
        )
    start = np.full((len(long), 1), tokenizer.end_of_text_id, np.int64)
    prompts = torch.from_numpy(np.hstack([start, np.stack(long)[:, :prompt]]))
    settings = SampleSettings(max_new_tokens=wanted, temperature=0)
    found = continuations(model, prompts, settings, tokenizer=tokenizer)
    return {
        "prompted": len(long),
        "exact": sum(new == row[prompt:].tolist() for new, row in zip(found, long, strict=True)),
    }


def _samples(model: Transformer, tokenizer: Tokenizer, asked: Memorisation, seed: int) -> list[list[int]]:
    """Texts from nothing, each from the beginning of a document."""
    found: list[list[int]] = []
    for batch, start in enumerate(range(0, asked.samples, _BATCH)):
        count = min(_BATCH, asked.samples - start)
        prompts = torch.full((count, 1), tokenizer.end_of_text_id)
        # A stream of dice of its own for each batch.
        dice = int(np.random.default_rng([_DRAW_SEED, seed, batch]).integers(2**31))
        settings = SampleSettings(max_new_tokens=asked.sample_tokens, temperature=1.0, top_k=_TOP_K, seed=dice)
        found += continuations(model, prompts, settings, tokenizer=tokenizer)
    return found


def overlap(
    engine: Engine, samples: Sequence[Sequence[int]], manifest: Mapping[str, Any], *, width: int, tokenizer: Path,
    folder: Path,
) -> float:  # fmt: skip
    """Share of the samples' tokens that lie inside a run of `width` tokens of a run's extracted text."""
    listed = [list(sample) for sample in samples]
    base, units = manifest["base"], [split["unit"] for split in manifest["splits"]]
    key = key_of(base, listed, width, load(tokenizer.read_bytes()).sha256, source_key(["pipeline.phases.overlap"]))
    file = folder / f"samples-{key}.json"
    _write(file, json.dumps(listed))
    tasks = [
        Task(phase=f"canaries.overlap-{key}", unit=unit, function="pipeline.phases.overlap:found",
             arguments={"base": base, "unit": unit, "samples": str(file), "tokenizer": str(tokenizer), "width": width})
        for unit in dict.fromkeys(units)
    ]  # fmt: skip
    commits = engine.run(tasks)
    there = [engine.files.read_table(commit.files["found"].name)["hash"].to_numpy() for commit in commits]
    index = np.unique(np.concatenate([np.zeros(0, np.uint64), *there]))
    total = sum(map(len, listed))
    return round(sum(covered(sample, index, width) for sample in listed) / total, 6) if total else 0.0


def written(places: Places, name: str, asked: Memorisation) -> dict[str, float]:
    """Copies of a planted text that the variant's training shards hold, in the mean, by label."""
    shards = ShardSet.from_folder(places.run(name, GROUP) / "shards")
    counts = dict.fromkeys(map(_label, asked.copies), 0)
    for number in range(len(shards.row_groups)):
        sources = shards.read_documents(number)["source"]
        for label in counts:
            counts[label] += int(pc.sum(pc.ends_with(sources, f"{label}.jsonl")).as_py() or 0)
    return {label: round(count / asked.texts, 4) for label, count in counts.items()}


def given_back(found: Sequence[Mapping[str, Any]], *, confidence: float) -> dict[str, dict[str, Any]]:
    """What the models of one variant (one a seed) know of the texts, by label: bits per byte, how much fewer than for
    the controls with an interval (Welch's t over texts, each text's mean over seeds), and exact continuations."""
    each = {
        label: np.mean([_per_text(one["scores"]["domains"][label]) for one in found], axis=0)
        for label in found[0]["exact"]
    }
    rows = {}
    for label, values in each.items():
        prompted = sum(one["exact"][label]["prompted"] for one in found)
        rows[label] = {
            "bits_per_byte": round(float(values.mean()), 6),
            "gap": None if label == CONTROLS else _gap(each[CONTROLS], values, confidence),
            "prompted": prompted,
            "exact": sum(one["exact"][label]["exact"] for one in found),
        }
    return rows


def _per_text(score: Mapping[str, Any]) -> np.ndarray:
    nats, size = np.array(score["document_nats"], float), np.array(score["document_bytes"], float)
    per_text: np.ndarray = nats / (np.log(2) * size)
    return per_text


def _gap(controls: np.ndarray, seen: np.ndarray, confidence: float) -> dict[str, float | None]:
    difference = round(float(controls.mean() - seen.mean()), 6)
    if min(len(controls), len(seen)) < 2:
        return {"bits_per_byte": difference, "low": None, "high": None}
    interval = stats.ttest_ind(controls, seen, equal_var=False).confidence_interval(confidence)
    return {"bits_per_byte": difference, "low": round(float(interval.low), 6), "high": round(float(interval.high), 6)}


def sentences(found: Mapping[str, Any]) -> list[str]:
    """A line a variant, about the texts with the most copies and about samples."""
    most = max(found["copies"])
    lines = []
    for name, variant in found["variants"].items():
        row = variant["texts"][_label(most)]
        gap = row["gap"]
        interval = "" if gap["low"] is None else f" ({gap['low']:+.3f} to {gap['high']:+.3f})"
        lines.append(
            f"{name}: of texts planted {most} times {variant['written'][_label(most)]:g} copies stay, seen "
            f"{variant['epochs']:.2f} times; they take {gap['bits_per_byte']:.3f} bits per byte less than unseen "
            f"ones{interval}, {row['exact']} of {row['prompted']} are continued exactly; "
            f"{variant['overlap']:.3%} of sampled tokens stand in the raw pool"
        )
    return lines
