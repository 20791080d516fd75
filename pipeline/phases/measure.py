"""One measuring function over every document of a split: its columns become a layer, row for row."""

from typing import Any

import pyarrow as pa

import stages
from pipeline.parts import Output
from pipeline.resources import load_resources
from pipeline.view import View, read_documents
from stages.stage import Stage


def run(
    output: Output, *, stage: str, settings: dict[str, Any], resources: dict[str, str], view: View, unit: str
) -> dict[str, Any]:
    """Task: `docs` holds the columns that the stage adds. `resources`: the sha256 that the plan has seen, by name."""
    definition = stages.CATALOGUE[stage]
    assert isinstance(definition, Stage)
    assert definition.measure is not None
    chosen = definition.settings.model_validate(settings).without_thresholds()
    documents = read_documents(output.files, view, unit, list(definition.reads), alive_only=False).drop_columns(["row"])
    loaded = load_resources(definition.resources(chosen), expected=resources)
    added = definition.measure(documents, chosen, loaded)
    check(added, definition, rows=documents.num_rows)
    output.table("docs", added.select(definition.adds.names))
    return {"documents": documents.num_rows}


def check(added: pa.Table, definition: Stage, *, rows: int) -> None:
    """A stage that broke its promise is stopped here, before its columns can stand beside the wrong rows."""
    if added.num_rows != rows:
        raise AssertionError(f"stage {definition.name} was given {rows} documents and returned {added.num_rows}")
    for field in definition.adds:
        if field.name not in added.column_names or added.schema.field(field.name).type != field.type:
            raise AssertionError(f"stage {definition.name} did not return its column {field.name} as {field.type}")
