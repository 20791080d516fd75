"""One measuring function over every document of a split: its columns become a layer, row for row.

A text that makes a stage fail costs one ledger row and not the split: the split is halved until the failing documents
stand alone. They are noted in `errors`, and judging rejects them as `model_error`.
"""

from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa

import stages
from pipeline.files import Files
from pipeline.parts import Commit, Output
from pipeline.resources import load_resources
from pipeline.runners.base import TaskFailedError
from pipeline.view import View, read_documents
from stages.stage import Stage

#: What a text can be to blame for. Memory, files and devices are the machine's: there the task fails and is tried
#: again. A failed assertion is a stage that broke its promise.
_OF_A_TEXT = (ValueError, TypeError, ArithmeticError, LookupError, RecursionError)
#: Of a split's documents, and of all: when more fail, it is the stage that is broken and the run stops.
_MOST_FAILED = 0.01


def run(
    output: Output, *, stage: str, settings: dict[str, Any], resources: dict[str, str], view: View, unit: str
) -> dict[str, Any]:
    """Task: `docs` holds the columns that the stage adds; `errors`, where there are any, row and error of documents on
    which it failed, whose columns are zero. `resources`: the sha256 that the plan has seen, by name."""
    definition = stages.CATALOGUE[stage]
    assert isinstance(definition, Stage)
    measure = definition.measure
    assert measure is not None
    chosen = definition.settings.model_validate(settings).without_thresholds()
    documents = read_documents(output.files, view, unit, list(definition.reads), alive_only=False).drop_columns(["row"])
    loaded = load_resources(definition.resources(chosen), expected=resources)

    def measured(some: pa.Table) -> pa.Table:
        added = measure(some, chosen, loaded)
        check(added, definition, rows=some.num_rows)
        return added.select(definition.adds.names)

    added, errors = by_row(documents, measured, schema=definition.adds)
    output.table("docs", added)
    if not errors:
        return {"documents": documents.num_rows}
    rows, details = zip(*errors, strict=True)
    output.table("errors", pa.table({"row": pa.array(rows, pa.int64()), "detail": pa.array(details, pa.string())}))
    return {"documents": documents.num_rows, "errors": len(errors)}


def by_row(
    documents: pa.Table, measured: Callable[[pa.Table], pa.Table], *, schema: pa.Schema
) -> tuple[pa.Table, list[tuple[int, str]]]:
    """What `measured` gives for all documents, and (row, error) of those on which it raises, whose columns are zero.
    Raises the last error where more than one document in a hundred (and more than one) makes it fail."""
    errors: list[tuple[int, str]] = []

    def some(first: int, count: int) -> list[pa.Table]:
        try:
            return [measured(documents.slice(first, count))]
        except _OF_A_TEXT as error:
            if not count:
                raise
            if count == 1:
                errors.append((first, f"{type(error).__name__}: {error}"[:300]))
                if _too_many(len(errors), documents.num_rows):
                    raise
                return [pa.table([pa.array([_zero(field.type)], field.type) for field in schema], schema=schema)]
        return [*some(first, count // 2), *some(first + count // 2, count - count // 2)]

    tables = some(0, documents.num_rows)
    # Whether a column may be null is as the stage has it.
    stated = next((table.schema for table in tables if table.schema != schema), schema)
    return (tables[0] if len(tables) == 1 else pa.concat_tables([table.cast(stated) for table in tables])), errors


def _zero(kind: pa.DataType) -> Any:
    """The zero of a column's type: judges compare it like any other value, and its verdict is not looked at."""
    if pa.types.is_floating(kind):
        return 0.0
    if pa.types.is_boolean(kind):
        return False
    if pa.types.is_integer(kind):
        return 0
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return []
    return "" if pa.types.is_string(kind) or pa.types.is_large_string(kind) else None


def _too_many(failed: int, documents: int) -> bool:
    return failed > max(1, _MOST_FAILED * documents)


def refuse_broken(stage: str, commits: Sequence[Commit]) -> None:
    """TaskFailedError where the stage failed on more than one in a hundred (and more than one) of all documents: a
    split of one document may fail as a whole, and a folder is of many such."""
    failed, documents = (sum(commit.counts.get(name, 0) for commit in commits) for name in ("errors", "documents"))
    if _too_many(failed, documents):
        worst = max(commits, key=lambda commit: commit.counts.get("errors", 0))
        raise TaskFailedError(
            f"{stage} failed on {failed} of {documents} documents: it is broken, or its model does not fit. What it "
            f"says stands in {worst.files['errors'].name} of the work folder"
        )


def errors_of(files: Files, phase: str, unit: str) -> dict[int, str]:
    """Row and error of the split's documents on which the stage of this phase failed."""
    name = f"{phase}/{unit}.errors.parquet"
    if not phase.startswith("measure-") or not files.exists(name):
        return {}
    table = files.read_table(name)
    return dict(zip(table["row"].to_pylist(), table["detail"].to_pylist(), strict=True))


def check(added: pa.Table, definition: Stage, *, rows: int) -> None:
    """A stage that broke its promise is stopped here, before its columns can stand beside the wrong rows."""
    if added.num_rows != rows:
        raise AssertionError(f"stage {definition.name} was given {rows} documents and returned {added.num_rows}")
    for field in definition.adds:
        if field.name not in added.column_names or added.schema.field(field.name).type != field.type:
            raise AssertionError(f"stage {definition.name} did not return its column {field.name} as {field.type}")
