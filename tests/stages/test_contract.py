"""What every row-local stage promises, whatever it measures: one test a promise, for each stage of the catalogue."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from resources import resources_for, settings_for

import stages
from stages import c4_quality, fineweb_quality, gopher_quality, gopher_repetition
from stages.reasons import DROP
from stages.schema import DOCUMENT, VERDICT
from stages.stage import Stage

_CATALOGUE: Any = getattr(stages, "CATALOGUE", ())
_LISTED = _CATALOGUE.values() if isinstance(_CATALOGUE, Mapping) else _CATALOGUE
STAGES: dict[str, Stage] = {
    stage.name: stage
    for stage in (
        gopher_quality.STAGE,
        gopher_repetition.STAGE,
        c4_quality.STAGE,
        fineweb_quality.STAGE,
        *_LISTED,
    )
    if isinstance(stage, Stage) and stage.measure is not None
}

PROSE = (
    "It was a bright cold day in April, and the clocks were striking thirteen. The wind that had come up in the "
    "night was still blowing over the fields, and nobody was to be seen on the road."
)
TEXTS = [
    PROSE,
    "\n".join([PROSE] * 6),
    "",
    "Home\nAbout\nContact\n\nHome\nAbout\nContact",
    "Das Wetter ist schön, und die Sonne scheint auf das Haus. Wir gehen mit dem Hund in den Wald.",
    "今天天气很好。我们去公园散步吧！\nとても美しい日です。",
    "This site uses cookies.\nPlease enable JavaScript to go on.\nTerms of use apply here.",
    "- one\n- two\n- three\n* four ...",
    "a b c d e a b c d e a b c d e a b c d e",
    "You are all stupid and I hate each and every one of you, idiots.",
    "function f() { return 1; }",
    " \n\t\n ",
]
HOSTILE = {
    "nul": "a\0b\0\0",
    "white space only": " \t\n\u2028\u00a0\u3000\n" * 50,
    "line breaks only": "\n" * 10_000,
    "carriage returns": "one\r\ntwo\rthree\r\n",
    "emoji": "😀👩‍👩‍👧‍👦🏳️‍🌈" * 500,
    "right to left": "مرحبا بالعالم، كيف حالك اليوم؟ שלום עולם! \u202eabc\u202c",
    "accents without letters": "\u0301" * 5_000,
    "a letter under many accents": "a" + "\u0300" * 5_000,
    "noncharacters": "\ufffe\uffff\U0010ffff\ufeff\ufffd\ue000",
    "private and unassigned": "\U000e0041\U000f0000\u0378",
    "brackets": "[" * 5_000 + "[1" * 100 + "{" * 100,
    "full stops": "." * 5_000 + " ." * 100,
    "joiners": "'_\u200d\u00ad" * 1_000,
    "markers of fastText": "__label__hq </s> __label__toxic",
    "identical lines": "the same line of text, again and again.\n" * 100_000,
    "one line without a space": "x" * 5_000_000,
    "Han without a space": "字" * 100_000,
}

every_stage = pytest.mark.parametrize("name", STAGES)


def documents(texts: list[str]) -> pa.Table:
    """A document table, with a value in every column."""
    rows = len(texts)
    return pa.table(
        {
            "id": [f"{row:032x}" for row in range(rows)],
            "source": ["crawl.warc.gz"] * rows,
            "offset": range(rows),
            "record": [0] * rows,
            "url": [f"https://example.org/{row}" for row in range(rows)],
            "date": ["2026-01-01T00:00:00Z"] * rows,
            "media_type": ["text/html"] * rows,
            "title": [None] * rows,
            "text": texts,
        },
        schema=DOCUMENT,
    )


def measured(stage: Stage, docs: pa.Table, **settings: Any) -> pa.Table:
    """What the runner has after `measure`, which sees the columns that it says it reads and no others."""
    chosen = settings_for(stage, **settings).without_thresholds()
    assert stage.measure is not None
    return stage.measure(docs.select(stage.reads), chosen, resources_for(stage, chosen))


def judged(stage: Stage, docs: pa.Table, measures: pa.Table) -> pa.Table | None:
    """The verdicts, from the columns that the stage says it judges and no others; None if it judges nothing."""
    if stage.judge is None:
        return None
    kept = [name for name in docs.column_names if name not in measures.column_names]
    whole = pa.table({**dict(zip(kept, docs.select(kept).columns, strict=True)), **_columns(measures)})
    return stage.judge(whole.select(stage.judges), settings_for(stage))


def _columns(table: pa.Table) -> dict[str, Any]:
    return dict(zip(table.column_names, table.columns, strict=True))


@every_stage
def test_one_row_a_document_in_the_declared_schema(name):
    stage = STAGES[name]
    docs = documents(TEXTS)
    measures = measured(stage, docs)
    measures.validate(full=True)
    assert measures.schema == stage.adds
    assert measures.num_rows == len(TEXTS)


@every_stage
def test_nothing_in_nothing_out(name):
    stage = STAGES[name]
    docs = documents([])
    measures = measured(stage, docs)
    assert measures.schema == stage.adds
    assert measures.num_rows == 0
    verdicts = judged(stage, docs, measures)
    assert verdicts is None or (verdicts.schema == VERDICT and verdicts.num_rows == 0)


@every_stage
@pytest.mark.parametrize("size", [1, 5])
def test_batch_boundaries_do_not_matter(name, size):
    stage = STAGES[name]
    docs = documents(TEXTS)
    measures = measured(stage, docs)
    batches = [docs.slice(start, size) for start in range(0, len(TEXTS), size)]
    parts = [measured(stage, batch) for batch in batches]
    assert pa.concat_tables(parts).combine_chunks().equals(measures.combine_chunks())
    if stage.judge is not None:
        verdicts = [judged(stage, batch, part) for batch, part in zip(batches, parts, strict=True)]
        assert pa.concat_tables(verdicts).to_pylist() == judged(stage, docs, measures).to_pylist()


@every_stage
def test_a_column_in_several_chunks_is_the_same_column(name):
    stage = STAGES[name]
    chunked = pa.concat_tables([documents(TEXTS[:3]), documents([]), documents(TEXTS[3:])])
    assert measured(stage, chunked).to_pylist() == measured(stage, documents(TEXTS)).to_pylist()


@every_stage
def test_rows_are_measured_one_by_one_in_their_order(name):
    stage = STAGES[name]
    backwards = measured(stage, documents(TEXTS[::-1])).to_pylist()
    assert backwards[::-1] == measured(stage, documents(TEXTS)).to_pylist()


@every_stage
def test_only_text_is_read_unless_declared(name):
    stage = STAGES[name]
    others = {column for other in STAGES.values() if other is not stage for column in other.adds.names}
    assert set(stage.reads) <= set(DOCUMENT.names) | others
    assert set(stage.judges) <= set(stage.adds.names) | set(DOCUMENT.names) | others


@every_stage
@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_text_never_raises(name, case):
    stage = STAGES[name]
    docs = documents([PROSE, HOSTILE[case], PROSE])
    measures = measured(stage, docs)
    measures.validate(full=True)
    rows = measures.to_pylist()
    assert rows[0] == rows[2], "the neighbours of a hostile document are measured as ever"
    verdicts = judged(stage, docs, measures)
    assert verdicts is None or verdicts.num_rows == 3


@every_stage
def test_scores_are_rounded_to_four_decimals_and_are_numbers(name):
    measures = measured(STAGES[name], documents([*TEXTS, *HOSTILE.values()]))
    for column in measures.schema:
        if pa.types.is_floating(column.type):
            values = measures[column.name].to_numpy()
            assert np.isfinite(values).all()
            assert (np.round(values, 4) == values).all()


@every_stage
def test_thresholds_do_not_change_what_is_measured(name):
    stage = STAGES[name]
    assert stage.judge is None or stage.settings.names_of("threshold"), "a stage that rejects has a threshold"
    plain = settings_for(stage).model_dump()
    changed = {
        field: value / 2 if isinstance(value, float) else value + 1
        for field, value in plain.items()
        if field in stage.settings.names_of("threshold")
        and isinstance(value, int | float)
        and not isinstance(value, bool)
    }
    assert settings_for(stage, **changed).measuring() == settings_for(stage).measuring()
    docs = documents(TEXTS)
    assert measured(stage, docs, **changed).equals(measured(stage, docs))


@every_stage
def test_verdicts_name_known_reasons(name):
    stage = STAGES[name]
    if stage.judge is None:
        pytest.skip("it rejects nothing")
    docs = documents(TEXTS)
    verdicts = judged(stage, docs, measured(stage, docs))
    assert verdicts.schema == VERDICT
    assert verdicts.num_rows == len(TEXTS)
    for verdict in verdicts.to_pylist():
        if verdict["reason"] is None:
            assert set(verdict.values()) == {None}
        else:
            assert verdict["reason"] in DROP


def test_no_two_measures_add_a_column_of_the_same_name():
    owner: dict[str, Any] = {}
    for stage in STAGES.values():
        for column in stage.adds.names:
            if column != "text":
                assert owner.setdefault(column, stage.measure) is stage.measure, column


def test_stages_that_share_a_measure_ask_for_the_same_work():
    by_measure: dict[Any, Stage] = {}
    for stage in STAGES.values():
        first = by_measure.setdefault(stage.measure, stage)
        assert (first.adds, first.reads, first.modules, first.libraries) == (
            stage.adds,
            stage.reads,
            stage.modules,
            stage.libraries,
        )
        assert settings_for(first).measuring() == settings_for(stage).measuring() or first.measure is not stage.measure
