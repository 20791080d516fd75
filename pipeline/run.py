"""A run from recipe to manifest: the driver."""

import importlib.metadata
import json
import platform
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pipeline import shard_flow
from pipeline.books import ConservationError
from pipeline.dedup.against import publish_near, resolve_near
from pipeline.dedup.bloom import RunIdentity, check_pins, publish_slice, resolve_slices
from pipeline.engine import Engine, Progress, Silent, key_of, merged_counts
from pipeline.expectations import unexpected
from pipeline.files import Files, Written
from pipeline.flow import Flow, labels
from pipeline.lock import run_lock, work_lock
from pipeline.outputs import collect, write_manifest
from pipeline.parts import Commit
from pipeline.recipe import Recipe, absolute
from pipeline.resources import ResourceError, identify_all, load_resources
from pipeline.root import root_hash
from pipeline.runners.base import Runner, TaskFailedError
from pipeline.runners.inline import InlineRunner
from pipeline.runners.needs import Needs
from pipeline.sources.listing import Split, cut, list_sources
from pipeline.status import Noted
from pipeline.takedown import refuse_to_undo
from stages.bloom_dedup import BloomSettings
from stages.near_dedup import NearDedupSettings
from stages.stage import Stage
from tokenizer.bpe import load

FORMAT = 1
_CACHE = "sources.json"
#: The distributions whose versions a manifest records.
_VERSIONS = (
    "tamis", "pyarrow", "numpy", "numba", "ray", "fastwarc", "trafilatura", "lxml", "resiliparse", "pypdfium2",
    "pymupdf", "fasttext-community", "tokenizers", "xxhash",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Options:
    """Where and how much; the recipe says what."""

    out: str
    work: str
    runner: str = "ray"
    #: Tasks at the same time; 0 is as many as the machine, or the cluster, has cores.
    workers: int = 2
    ray_address: str | None = None
    #: What tasks hold while they run, by pattern of phase names; one core where nothing is said.
    needs: Mapping[str, Needs] = field(default_factory=dict)
    #: Whether later runs may find what this one kept by its filters. Variants of an ablation must not meet each other.
    publish: bool = True


def make_runner(options: Options) -> Runner:
    if options.runner == "inline":
        return InlineRunner()
    from pipeline.runners.ray_runner import RayRunner  # starting Ray's machinery costs seconds that inline need not pay

    # Ours is shipped. Python and the libraries must be there.
    versions = tuple(sorted((name, version) for name, version in _versions().items() if name != "tamis"))
    return RayRunner(workers=options.workers, address=options.ray_address, needs=options.needs, versions=versions)


def plan_splits(recipe: Recipe, work: str) -> list[Split]:
    """The input as splits, content hashes remembered in the work folder."""
    files = Files(work)
    cache: dict[str, Any] = json.loads(files.read(_CACHE)) if files.exists(_CACHE) else {}
    known = len(cache)
    sources = list_sources(recipe.input.paths, cache=cache)
    if len(cache) != known:
        files.write_bytes(_CACHE, json.dumps(cache).encode())
    return cut(sources, split_bytes=recipe.input.split_bytes)


def run_identity(recipe: Recipe, splits: Sequence[Split]) -> RunIdentity:
    """What makes two runs the same run: recipe, models and input, not the filters that earlier runs left behind."""
    sources = tuple(sorted({split.source.fingerprint for split in splits}))
    models = [
        identify_all(entry.definition.resources(entry.settings.without_thresholds()))
        for entry in recipe.stages
        if isinstance(entry.definition, Stage)
    ]
    names = sorted({split.source.name for split in splits})
    return RunIdentity(key=key_of(recipe.resolved(), models, names, sources), sources=sources)


def check_resources(recipe: Recipe) -> None:
    """Load every model, list and vocabulary of the recipe, before any work. ResourceError names what is wrong."""
    for entry in recipe.stages:
        if isinstance(entry.definition, Stage):
            needed = entry.definition.resources(entry.settings.without_thresholds())
            try:
                load_resources(needed, expected=identify_all(needed))
            except (ValueError, OSError) as error:
                raise ResourceError(f"stage {entry.type}: {error}") from error
    if recipe.tokenizer is not None and recipe.tokenizer.path is not None:
        try:
            load(Path(recipe.tokenizer.path).read_bytes(), end_of_text=recipe.tokenizer.end_of_text)
        except (ValueError, OSError) as error:
            raise ResourceError(f"tokenizer.path: {error}") from error


def pin_slices(recipe: Recipe, splits: Sequence[Split], work: str, *, keep: bool) -> dict[str, list[dict[str, Any]]]:
    """The slices of earlier runs that each `bloom` stage, and each `near_dedup` with `against`, reads, resolved once,
    before any work.

    With `keep` they are written into the work folder: a run that is killed and started again reads what it read at
    first, whatever other runs have published meanwhile.
    """
    pinned: dict[str, list[dict[str, Any]]] = {}
    for label, settings in _slice_stages(recipe):
        identity, files = run_identity(recipe, splits), Files(work)
        folder = settings.seen if isinstance(settings, BloomSettings) else str(settings.against)
        name = _pin_name(identity, label, folder)
        if files.exists(name):
            pinned[label] = json.loads(files.read(name))
            check_pins(Files(folder), pinned[label])
            continue
        pinned[label] = (
            resolve_slices(folder, identity)
            if isinstance(settings, BloomSettings)
            else resolve_near(settings, identity)
        )
        if keep:
            files.write_bytes(name, json.dumps(pinned[label]).encode())
    return pinned


def _pin_name(identity: RunIdentity, label: str, folder: str) -> str:
    return f"pins/{key_of(identity.key, label, folder)}.json"


def _pins(recipe: Recipe, splits: Sequence[Split]) -> list[str]:
    """Where this run's pins lie in the work folder."""
    identity = run_identity(recipe, splits)
    return [
        _pin_name(identity, label, settings.seen if isinstance(settings, BloomSettings) else str(settings.against))
        for label, settings in _slice_stages(recipe)
    ]


def _slice_stages(recipe: Recipe) -> list[tuple[str, BloomSettings | NearDedupSettings]]:
    """The stages that read what earlier runs left, and leave something themselves."""
    return [
        (label, entry.settings)
        for label, entry in zip(labels(recipe), recipe.stages, strict=True)
        if isinstance(entry.settings, BloomSettings)
        or (isinstance(entry.settings, NearDedupSettings) and entry.settings.against is not None)
    ]


def run(
    recipe: Recipe, options: Options, *, progress: Progress | None = None, runner: Runner | None = None
) -> dict[str, Any]:
    """Do what is not yet done and leave kept/, ledger/, shards/, tokenizer/ and manifest.json in `out`.

    Returns the manifest. Interrupted at any moment, the same call goes on from there and ends with the same bytes.
    """
    started, options = time.time(), anchored(options)
    with run_lock(options.out), ExitStack() as held:
        refuse_to_undo(options.out)
        # Before the work folder is touched: a wrong model leaves nothing behind.
        check_resources(recipe)
        held.enter_context(work_lock(options.work))
        splits = plan_splits(recipe, options.work)
        pinned = pin_slices(recipe, splits, options.work, keep=True)
        own = runner or make_runner(options)
        try:
            watched = Noted(progress or Silent(), out=options.out, work=options.work)
            engine = Engine(options.work, own, progress=watched)
            flow = Flow(engine=engine, recipe=recipe, splits=splits, pinned=pinned)
            flow.documents()
            published, commits = flow.publish()

            def finish(learned: shard_flow.Learned | None, unfinished: str | None = None) -> dict[str, Any]:
                out = Files(options.out)
                wanted = _document_files(commits) | (learned.files if learned else {})
                manifest = _manifest(flow, published, commits, collect(engine.files, out, wanted), learned)
                manifest["unfinished"] = unfinished
                manifest["observed"] = _observed(engine, options, time.time() - started)
                manifest["observed"]["pins"] = _pins(recipe, splits)
                write_manifest(out, manifest)
                return manifest

            try:
                learned = shard_flow.make_shards(flow) if recipe.tokenizer else None
            except (TaskFailedError, ValueError) as error:
                # The curation is done, and what it kept and dropped must be there to look at.
                finish(None, str(error))
                raise
            manifest = finish(learned)
            if options.publish and (slices := _publish_slices(flow, recipe, splits, pinned)):
                manifest["observed"]["filters"] = slices
                write_manifest(Files(options.out), manifest)
            watched.finish()
        finally:
            if runner is None:
                own.close()
    return manifest


def _publish_slices(
    flow: Flow, recipe: Recipe, splits: Sequence[Split], pinned: dict[str, list[dict[str, Any]]]
) -> list[dict[str, str]]:
    """What later runs find this one's documents by: for each stage that leaves something, its folder and slice."""
    identity, published = run_identity(recipe, splits), []
    for label, settings in _slice_stages(recipe):
        if isinstance(settings, BloomSettings):
            folder = settings.seen
            name = publish_slice(flow.engine, flow.view, folder, identity, pinned[label], settings)
        else:
            folder = str(settings.against)
            name = publish_near(flow.engine, flow.view, settings, identity, pinned[label])
        published.append({"stage": label, "folder": folder, "slice": name})
    return published


def _document_files(commits: Sequence[Commit]) -> dict[str, Written]:
    wanted = {}
    for number, commit in enumerate(commits):
        for folder in ("kept", "ledger"):
            wanted[f"{folder}/part-{number:05d}.parquet"] = commit.files[folder]
    return wanted


def _manifest(
    flow: Flow, published: str, commits: Sequence[Commit], outputs: dict[str, str], learned: shard_flow.Learned | None
) -> dict[str, Any]:
    resolved = flow.recipe.resolved()
    counts = merged_counts(commits)
    stage_counts = flow.stage_counts()
    extraction = merged_counts(flow.engine.commits[flow.judged[0]])
    rejected = sum(sum(stage["reasons"].values()) for stage in stage_counts)
    documents = stage_counts[0]["documents"]
    if (
        documents != counts["kept"] + counts["dropped"] + counts["quarantined"]
        or documents != counts["kept"] + rejected
    ):
        raise ConservationError(f"{documents} documents were read, but the run ends with {counts}")
    return {
        "format": FORMAT,
        "name": flow.recipe.name,
        "root": root_hash(outputs, resolved),
        "recipe": resolved,
        "counts": {
            **counts,
            "stages": stage_counts,
            "records_skipped": extraction.get("records_skipped", {}),
            "nondeterministic_drops": extraction["nondeterministic_drops"],
            "text_bytes": stage_counts[-1]["text_bytes_kept"],
            "tokens": learned.tokens if learned else None,
        },
        "warnings": unexpected(list(zip(labels(flow.recipe), flow.recipe.stages, strict=True)), stage_counts),
        "sources": _sources(flow, commits),
        "splits": [
            {
                "source": split.source.name,
                "start": split.start,
                "end": split.end,
                "part": f"part-{number:05d}",
                "unit": split.unit,
                **commit.counts,
                "stages": _split_stages(flow, number),
            }
            for number, (split, commit) in enumerate(zip(flow.splits, commits, strict=True))
        ],
        "outputs": outputs,
        "phases": _phases(flow.engine),
        "published": published,
        "columns": flow.columns,
        "base": flow.view.base.phase,
        "compared": flow.compared,
        "rewritten": flow.rewritten,
        "vocabulary": learned.vocabulary if learned else None,
        "shards": learned.summary if learned else None,
        "versions": _versions(),
        "resources": dict(sorted(flow.resources.items())),
    }


def _split_stages(flow: Flow, number: int) -> list[dict[str, Any]]:
    """What each stage got and kept of one split, in the order of the data."""
    found: dict[str, dict[str, Any]] = {}
    for phase in flow.judged:
        found |= flow.engine.commits[phase][number].counts["stages"]
    return [{"stage": name, **found[name]} for name in ("read", *labels(flow.recipe)) if name in found]


def _sources(flow: Flow, commits: Sequence[Commit]) -> list[dict[str, Any]]:
    extraction = flow.engine.commits[flow.judged[0]]
    rows: dict[str, dict[str, Any]] = {}
    for split, commit, read in zip(flow.splits, commits, extraction, strict=True):
        row = rows.setdefault(
            split.source.name,
            {"source": split.source.name, "size_bytes": split.source.size_bytes, "kind": split.source.kind,
             "fingerprint": split.source.fingerprint, "truncated": False, "documents": 0, "kept": 0, "dropped": 0,
             "quarantined": 0},
        )  # fmt: skip
        row["truncated"] |= bool(read.counts["truncated"])
        for name in ("documents", "kept", "dropped", "quarantined"):
            row[name] += commit.counts[name]
    return list(rows.values())


def _phases(engine: Engine) -> list[dict[str, Any]]:
    return [
        {
            "phase": phase,
            "name": phase.rpartition("-")[0],
            "units": len(commits),
            "executed": engine.executed.get(phase, 0),
            "seconds": round(sum(commit.observed["seconds"] for commit in commits), 3),
            # Parts that an earlier version made did not count it.
            "cpu_seconds": round(
                sum(commit.observed.get("cpu_seconds", commit.observed["seconds"]) for commit in commits), 3
            ),
            "bytes": sum(file.size_bytes for commit in commits for file in commit.files.values()),
        }
        for phase, commits in engine.commits.items()
    ]


def _observed(engine: Engine, options: Options, seconds: float) -> dict[str, Any]:
    commits = [commit for group in engine.commits.values() for commit in group]
    return {
        "seconds": round(seconds, 3),
        "peak_worker_memory_bytes": int(max((commit.observed["peak_memory_bytes"] for commit in commits), default=0)),
        "work": options.work,
        "runner": options.runner,
        "workers": engine.runner.workers if options.runner == "ray" else 1,
    }


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in _VERSIONS:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def anchored(options: Options) -> Options:
    """The same options with local folders told from the root: workers stand in another folder."""
    return replace(options, out=absolute(options.out), work=absolute(options.work))


def default_work(out: str) -> str:
    """Where cached phases lie when the user does not say: beside the run's folder, shared by its neighbours."""
    return str(Path(out).absolute().parent / "tamis-work") if "://" not in out else out.rstrip("/") + "-work"
