"""The road of a recipe: its stages become phases, every phase gets a key, and the view grows phase by phase.

    extract -> [ measure … measure -> judge ] -> exchange -> [ measure … -> judge ] -> … -> publish -> tokens

Extraction that removes duplicates first is itself glance -> exchange -> exchange -> extract (phases/glance.py).
A chain of row-local stages is measured first, all stages for every document, and then judged at once: a changed
threshold re-runs a comparison. A stage that rewrites text starts a new text; later stages of the chain measure that.
`Flow` is used twice: by the run, and by the plan with an engine that only looks what is there.
"""

import platform
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from pipeline.dedup.bloom import bloom_dedup
from pipeline.dedup.exact import IdenticalSettings, exact_dedup
from pipeline.dedup.near import near_dedup
from pipeline.dedup.spans import span_dedup
from pipeline.engine import Engine, content_key, key_of, merged_counts
from pipeline.keys import library_versions, source_key
from pipeline.models import JUDGE
from pipeline.parser_child import GATE_MODEL
from pipeline.parts import Commit, Task
from pipeline.phases import extract as extract_phase
from pipeline.phases import glance
from pipeline.phases.judge import Judgement
from pipeline.phases.measure import refuse_broken
from pipeline.recipe import Recipe, StageEntry
from pipeline.resources import identify, identify_all
from pipeline.sources.listing import Split
from pipeline.view import Layer, View
from stages.bloom_dedup import BloomSettings
from stages.exact_dedup import ExactDedupSettings
from stages.extract import ExtractSettings
from stages.near_dedup import NearDedupSettings
from stages.span_dedup import SpanSettings
from stages.stage import Exchange, Resource, Stage
from stages.url_dedup import UrlDedupSettings

#: What tasks look up by name, so that no import leads to it (pipeline/keys.py follows imports by itself).
_EXTRACT_MODULES = ("pipeline.phases.extract", "stages.extract_html", "stages.extract_pdf", "stages.extract_tamis")
_GLANCE_MODULES = ("pipeline.phases.glance", *_EXTRACT_MODULES)
_ALWAYS_LIBRARIES = ("pyarrow", "numpy", "xxhash")
#: Every page's character set is guessed by resiliparse, whichever engine reads it; zlib inflates every member.
_READ_LIBRARIES = ("fastwarc", "resiliparse")
#: Columns that exchanges look at, as far as a view has them.
_EXCHANGE_READS = ("id", "source", "url", "date", "text", "quality_score")
_TRANSFORMER_LIBRARIES = ("torch", "transformers", "tokenizers", "safetensors")
_TRAFILATURA = ("trafilatura", "lxml", "justext", "htmldate", "courlan", "lxml-html-clean")
_HTML_LIBRARIES = {
    "trafilatura": _TRAFILATURA,
    "resiliparse": ("lxml",),
    "tamis": ("lxml", "numba"),
}
#: What a cascade's gate asks besides.
_GATE_LIBRARIES = ("fasttext-community",)


def shown_reference(reference: str) -> str:
    """How a manifest names a model or list: the builtin's name, or the file's name without the place where it lies."""
    return reference if reference.startswith("builtin/") else Path(reference).name


def _gate_resources(settings: Any) -> dict[str, str]:
    """sha256 of the model that an extraction asks, by its reference."""
    if settings.engine == "tamis":
        return {JUDGE: identify(Resource(name="judge", kind="judge", reference=JUDGE))}
    if settings.engine != "cascade" or not settings.gate_languages:
        return {}
    return {GATE_MODEL: identify(Resource(name="gate", kind="fasttext", reference=GATE_MODEL))}


#: What kind of phase it is, and the call that runs it.
Step = tuple[Literal["extract", "measure", "judge", "exchange"], Callable[[], None]]


def labels(recipe: Recipe) -> list[str]:
    """Each stage's name in the ledger: its type, with #2, #3… where a type stands more than once."""
    seen: dict[str, int] = {}
    names = []
    for entry in recipe.stages:
        seen[entry.type] = seen.get(entry.type, 0) + 1
        names.append(entry.type if seen[entry.type] == 1 else f"{entry.type}#{seen[entry.type]}")
    return names


@dataclass(kw_only=True)
class Flow:
    """Walks a recipe over splits. After `documents` the view, the ledgers and the final splits stand."""

    engine: Engine
    recipe: Recipe
    splits: Sequence[Split]
    #: The slices of earlier runs that this run reads (bloom, near_dedup), pinned when planned, by stage.
    pinned: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    view: View = field(init=False)
    #: sha256 of every model and list that a stage uses.
    resources: dict[str, str] = field(default_factory=dict, init=False)
    #: Phases that say what each stage rejected, in order: extraction, judgements, exchanges.
    judged: list[str] = field(default_factory=list, init=False)
    #: For each stage that judged columns: column -> folder of the parts that hold it as the stage saw it.
    columns: dict[str, dict[str, str]] = field(default_factory=dict, init=False)
    #: For each stage that compared documents: folder of the parts that hold the text as the stage saw it.
    compared: dict[str, str] = field(default_factory=dict, init=False)
    #: For each exchange that rewrote texts: folder of the parts that say what it cut out.
    rewritten: dict[str, str] = field(default_factory=dict, init=False)

    def documents(self) -> None:
        """Run everything up to the last stage."""
        for _, step in self.steps():
            step()

    def steps(self) -> Iterator[Step]:
        """The phases as calls, in order. All but an exchange update the view before they run tasks, so that a plan
        can go on behind a phase that is still to be done; an exchange's result has a name only once it is there."""
        named = list(zip(labels(self.recipe), self.recipe.stages, strict=True))
        yield from self._extraction(*named[0])
        chain: list[tuple[str, StageEntry]] = []
        for label, entry in named[1:]:
            if isinstance(entry.definition, Exchange):
                yield from self._chain(chain)
                chain = []
                yield "exchange", partial(self._exchange, label, entry)
            else:
                chain.append((label, entry))
        yield from self._chain(chain)

    def run(
        self,
        phase: str,
        function: str,
        arguments: dict[str, Any],
        *,
        each: Mapping[str, dict[str, Any]] | None = None,
        gpu: bool = False,
    ) -> list[Commit]:
        """One task for every unit of the view, each given the arguments, its unit, and what `each` holds for it."""
        own = each or {}
        return self.engine.run(
            [
                Task(
                    phase=phase,
                    unit=unit,
                    function=function,
                    arguments={**arguments, **own.get(unit, {}), "unit": unit},
                    gpu=gpu,
                )
                for unit in self.view.units
            ]
        )

    def _extraction(self, label: str, entry: StageEntry) -> Iterator[Step]:
        """From splits to the base, with what the extract stage removes before it."""
        settings = entry.settings
        assert isinstance(settings, ExtractSettings)
        if not settings.glances:
            yield "extract", partial(self._extract, label, settings)
            return
        yield "extract", partial(self._glance, label, settings)
        if settings.drop_identical:
            yield "exchange", partial(self._before_extraction, label, IdenticalSettings())
        if settings.gate_duplicates:
            # Menus may stand before what names a page's edition, so all that the visible text names must agree.
            chosen = NearDedupSettings(threshold=settings.gate_min_similarity, editions="strict")
            yield "exchange", partial(self._before_extraction, label, chosen)
        yield "extract", partial(self._extract, label, settings)

    def _reading(self, settings: ExtractSettings, modules: Sequence[str]) -> tuple[str, dict[str, Any]]:
        """The key of a phase that reads the input, and the arguments that its tasks share."""
        given = settings.model_dump(mode="json")
        read = self.recipe.input.model_dump(mode="json", include={"max_record_bytes", "sample", "columns"})
        gated = _GATE_LIBRARIES if settings.engine == "cascade" else ()
        engines = (*_HTML_LIBRARIES[settings.page_engine], *gated, settings.pdf_engine, *_READ_LIBRARIES)
        gate = _gate_resources(settings)
        self.resources |= gate
        runtime = [platform.python_version(), zlib.ZLIB_RUNTIME_VERSION]
        return self._key([given, read, gate, runtime], modules, engines), {"settings": given, **read}

    def _glance(self, label: str, settings: ExtractSettings) -> None:
        """All records looked at; the view is theirs until they are extracted."""
        key, arguments = self._reading(settings, _GLANCE_MODULES)
        phase = f"glance-{key}"
        base = Layer(phase=phase, columns=tuple(glance.GLANCED.names))
        self.view = View(base=base, ledgers=(phase,), units=tuple(split.unit for split in self.splits))
        self.splits = extract_phase.read_all(
            self.engine, phase, self.splits, {"label": label, **arguments}, function="pipeline.phases.glance:run"
        )
        self.view = replace(self.view, units=tuple(split.unit for split in self.splits))

    def _before_extraction(self, label: str, settings: IdenticalSettings | NearDedupSettings) -> None:
        """An exchange over what the glance saw. Its ledger is booked by the extraction, not by itself."""
        columns = ("payload0", "payload1") if isinstance(settings, IdenticalSettings) else ("text",)
        upstream = self.contents(("id", *columns))
        if isinstance(settings, IdenticalSettings):
            phase = exact_dedup(self.engine, self.view, settings, upstream=upstream, label=label)
        else:
            phase = near_dedup(self.engine, self.view, settings, upstream=upstream, label=label)
            self.compared[label] = self.view.holder("text")
        self.view = self.view.with_ledger(phase)

    def _extract(self, label: str, settings: ExtractSettings) -> None:
        key, arguments = self._reading(settings, _EXTRACT_MODULES)
        each: dict[str, dict[str, Any]] = {}
        if settings.glances:
            if settings.engine == "cascade":
                # What is left has passed the gate.
                arguments["settings"] |= {"engine": settings.page_engine, "gate_duplicates": False}
            self.splits, each = self._left_to_extract()
        phase = f"extract-{key}"
        self.view = View(base=Layer(phase=phase, columns=tuple(extract_phase.BASE.names)), ledgers=(phase,),
                         units=tuple(split.unit for split in self.splits))  # fmt: skip
        self.judged.append(phase)
        self.columns[label] = dict.fromkeys(extract_phase.MEASURED, phase)
        self.splits = extract_phase.read_all(self.engine, phase, self.splits, {"label": label, **arguments}, each=each)
        self.view = replace(self.view, units=tuple(split.unit for split in self.splits))

    def _left_to_extract(self) -> tuple[list[Split], dict[str, dict[str, Any]]]:
        """The splits, named by what was ruled out of them too, so that a part is extracted again only if its own
        verdicts change; and for each the ledgers that say so."""
        splits, each = [], {}
        for number, split in enumerate(self.splits):
            ledgers = [self.engine.commits[phase][number].files["ledger"] for phase in self.view.ledgers]
            named = replace(split, verdicts=key_of([ledger.sha256 for ledger in ledgers]))
            splits.append(named)
            each[named.unit] = {"ruled_out": [ledger.name for ledger in ledgers]}
        return splits, each

    def _key(self, values: Any, modules: Sequence[str], libraries: Sequence[str]) -> str:
        return key_of(values, source_key(modules), library_versions([*_ALWAYS_LIBRARIES, *libraries]))

    def _chain(self, chain: Sequence[tuple[str, StageEntry]]) -> Iterator[Step]:
        judgements: list[tuple[str, StageEntry, View]] = []
        before: list[View] = []

        def measure(label: str, entry: StageEntry) -> None:
            if not before:
                before.append(self.view)
            definition = entry.definition
            assert isinstance(definition, Stage)
            run = self._measure(entry, definition) if definition.measure is not None else None
            if definition.judge is not None:
                judgements.append((label, entry, self.view))
            if run is not None:
                run()

        def judge() -> None:
            if judgements:
                self._judge(judgements, before[0])

        for label, entry in chain:
            yield "measure", partial(measure, label, entry)
        if chain:
            yield "judge", judge

    def _measure(self, entry: StageEntry, definition: Stage) -> Callable[[], Any] | None:
        """One layer, which joins the view at once; what is returned runs its tasks. None if the layer is there already:
        stages that share a measure and its settings share it."""
        assert definition.measure is not None
        settings = entry.settings.measuring()
        function = definition.measure
        needed = definition.resources(entry.settings.without_thresholds())
        found = identify_all(needed)
        self.resources |= {shown_reference(resource.reference): found[resource.name] for resource in needed}
        # How a file is read depends on its ending, and on what the loader is told.
        read_as = [
            [found[each.name], each.kind, Path(each.reference).suffixes, dict(each.parameters)] for each in needed
        ]
        held = [self.view.holder(column) for column in definition.reads]
        on_gpu = any(resource.kind == "sequence_classifier" for resource in needed)
        modules = (function.__module__, "pipeline.phases.measure", *definition.modules)
        libraries = (*definition.libraries, *definition.chosen_libraries(entry.settings))
        if on_gpu:
            modules, libraries = (*modules, "train.sequence_classifier"), (*libraries, *_TRANSFORMER_LIBRARIES)
        key = self._key([function.__qualname__, settings, read_as, held], modules, libraries)
        phase = f"measure-{function.__module__.rpartition('.')[2]}-{key}"
        layer = Layer(phase=phase, columns=tuple(definition.adds.names))
        view = self.view
        if any(self.view.holder(column) != phase for column in layer.columns if column in self.view.columns) or (
            layer not in self.view.layers
        ):
            # Also a layer that is there already, if another one has hidden it since: the judge sees the newest.
            self.view = self.view.with_layer(layer)
        if layer in view.layers:
            return None
        arguments = {
            "stage": entry.type,
            "settings": entry.settings.without_thresholds().model_dump(mode="json"),
            "resources": found,
            "view": view,
        }

        def measured() -> None:
            refuse_broken(entry.type, self.run(phase, "pipeline.phases.measure:run", arguments, gpu=on_gpu))

        return measured

    def _judge(self, judged: Sequence[tuple[str, StageEntry, View]], before: View) -> None:
        judgements = []
        material: list[Any] = [list(before.ledgers)]
        modules = {"pipeline.phases.judge"}
        for label, entry, view in judged:
            definition = entry.definition
            assert isinstance(definition, Stage)
            assert definition.judge is not None
            settings = entry.settings.model_dump(mode="json")
            judged_columns = definition.judged(entry.settings)
            self.columns[label] = {column: view.holder(column) for column in judged_columns}
            judgements.append(Judgement(label=label, stage=entry.type, settings=settings, view=view))
            material.append(
                [label, entry.settings.lasting(), [view.holder(column) for column in (*judged_columns, "text")]]
            )
            modules.update([definition.judge.__module__, *definition.modules])
        phase = f"judge-{self._key(material, tuple(modules), ())}"
        self.view = self.view.with_ledger(phase)
        self.judged.append(phase)
        self.run(phase, "pipeline.phases.judge:run", {"judgements": judgements, "view": before})

    def _exchange(self, label: str, entry: StageEntry) -> None:
        """The phase's ledger joins the view. What the exchange reads, and nothing else, is in its key."""
        settings = entry.settings
        # Editions are read from the texts as they were extracted.
        extracted = isinstance(settings, NearDedupSettings) and settings.editions != "merge"
        upstream = self.contents(_EXCHANGE_READS, extracted=extracted)
        self.compared[label] = self.view.holder("text")
        if isinstance(settings, BloomSettings):
            phase = bloom_dedup(self.engine, self.view, settings, self.pinned[label], upstream=upstream, label=label)
        elif isinstance(settings, ExactDedupSettings | UrlDedupSettings):
            phase = exact_dedup(self.engine, self.view, settings, upstream=upstream, label=label)
        elif isinstance(settings, SpanSettings):
            found = span_dedup(self.engine, self.view, settings, upstream=upstream, label=label)
            self.view = self.view.with_layer(found.layer)
            self.columns[label] = {column: found.layer.phase for column in found.layer.columns if column != "text"}
            self.rewritten[label] = found.layer.phase
            phase = found.ledger
        else:
            assert isinstance(settings, NearDedupSettings)
            slices = self.pinned.get(label, [])
            phase = near_dedup(self.engine, self.view, settings, upstream=upstream, slices=slices, label=label)
        self.view = self.view.with_ledger(phase)
        self.judged.append(phase)

    def contents(self, columns: Sequence[str], *, extracted: bool = False) -> str:
        """One key over the contents of the parts that hold these columns, and over which documents are alive; over what
        was `extracted`, too, if it is read besides.

        Why the others are not alive does not count: a threshold that moves without changing a verdict, or another
        measure in between, changes no such key.
        """
        held = [self.view.holder(column) for column in columns if column in self.view.columns]
        held += [self.view.base.phase] if extracted else []
        last = self.engine.commits[self.view.ledgers[-1]]
        alive = [[commit.unit, commit.counts.get("alive", "all")] for commit in last]
        return key_of([content_key(self.engine.commits[phase]) for phase in dict.fromkeys(held)], alive)

    def stage_counts(self) -> list[dict[str, Any]]:
        """One line a stage in the order of the data: documents in, kept, and rejected by reason."""
        found: dict[str, dict[str, Any]] = {}
        for phase in self.judged:
            found |= merged_counts(self.engine.commits[phase])["stages"]
        return [{"stage": name, **found[name]} for name in ("read", *labels(self.recipe)) if name in found]

    def publish(self) -> tuple[str, list[Commit]]:
        """Write kept documents and ledger, a part of each for every split. Returns the phase and its commits."""
        layers = [[layer.phase, list(layer.columns)] for layer in self.view.layers]
        key = self._key([self.view.base.phase, layers, list(self.view.ledgers)], ("pipeline.phases.publish",), ())
        phase = f"publish-{key}"
        return phase, self.run(phase, "pipeline.phases.publish:run", {"view": self.view})
