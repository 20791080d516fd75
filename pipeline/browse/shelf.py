"""A finished run as DuckDB reads it: lists of documents, and one document with all that is known of it.

Nothing is loaded beforehand. Every question reads the columns that it needs out of `kept/`, `ledger/` and, as far as
they are still there, the parts of the work folder, which hold the texts and the measures of documents that were
dropped. The database sees the folders of the run and nothing else, and its settings are locked.

    documents   kept/ and ledger/ under each other, with the columns of both
    placed      id, unit and row of every document that was extracted: where its measures stand in the work folder
    withheld    ids whose text must not be shown: taken down, or a duplicate of what was
"""

import itertools
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import duckdb
import pyarrow as pa

from pipeline.browse.asked import PAGE_ROWS, Asked
from pipeline.explain import measured_values
from pipeline.files import Files
from pipeline.outputs import read_manifest
from pipeline.report.scores import judged_columns
from pipeline.stage_texts import text_phases

#: A question that takes longer is stopped and says so: a visitor waits no longer, and asks something narrower.
SECONDS: Final = 60.0
#: Documents found by words are counted up to here; all other lists are counted in full.
COUNTED: Final = 1000
_MEMORY: Final = "2GB"
#: Files whose texts are opened to show the beginnings of kept documents: a sorted list may lie in one a row.
_EXCERPT_FILES: Final = 4
_EXCERPT_CHARACTERS: Final = 200
_NO_SCORES: Final = frozenset({"offset", "record"})
_NUMBERS: Final = (pa.types.is_floating, pa.types.is_integer)
_HOST: Final = r"nullif(lower(regexp_extract(url, '^[A-Za-z][A-Za-z0-9+.\-]*://(?:[^/?#]*@)?([^/?#:]+)', 1)), '')"
#: The language that the stage of this name found, in its own words.
_FOUND: Final = "CASE WHEN reason = 'language' THEN nullif(regexp_extract(detail, '^found ([^ ;,]+)', 1), '') END"
_COMMON: Final = 'id, source, "offset", record, url'


class TooSlowError(RuntimeError):
    """A question took longer than SECONDS."""


class Shelf:
    """An open run. Questions may come from several threads: each has a cursor of its own."""

    def __init__(self, out: str, *, work: str | None = None, threads: int | None = None) -> None:
        self.out = out
        self.manifest = read_manifest(out)
        self._files = Files(out)
        self.work = Files(work or self.manifest["observed"]["work"])
        self.stages: list[Mapping[str, Any]] = self.manifest["recipe"].get("stages", [])
        self._spill = tempfile.TemporaryDirectory(prefix="tamis-browse-")
        self._roots = {"run": self._root("run", self._files), "work": self._root("work", self.work)}
        self._units = [(split["unit"], split["source"]) for split in self.manifest.get("splits", [])]
        self.units_with_texts = self._present(self.manifest.get("base", ""))
        kept = self._parts("kept")
        schema = self._files.schema(kept[0]) if kept else pa.schema([])
        self.columns = [field.name for field in schema if field.name != "text"]
        judged = [name for name in judged_columns(self.stages) if name in self.columns]
        numbers = [one.name for one in schema if any(is_(one.type) for is_ in _NUMBERS) and one.name not in _NO_SCORES]
        #: Columns that can be filtered and sorted by: those that a rule judged first, in the order of the recipe.
        self.judged_scores = judged
        self.scores = [*judged, *(name for name in numbers if name not in judged)]
        self._database = self._opened(kept, self._parts("ledger"), threads)

    def close(self) -> None:
        self._database.close()
        self._spill.cleanup()

    # What is there.

    @property
    def has_texts(self) -> bool:
        """Whether the work folder still holds the texts of all documents that were extracted."""
        return bool(self._units) and len(self.units_with_texts) == len({unit for unit, _ in self._units})

    def reasons(self) -> list[tuple[str, str, int]]:
        """(stage, reason, documents), the commonest first."""
        rows = [
            (stage["stage"], reason, count)
            for stage in self.manifest["counts"]["stages"]
            for reason, count in stage["reasons"].items()
        ]
        return sorted(rows, key=lambda row: (-row[2], row))

    def _root(self, name: str, files: Files) -> str:
        """Where the database finds a folder. The name of a local one may hold what it takes for a pattern (a*, [b]),
        so it gets a link to go by."""
        if not files.local:
            return files.root.rstrip("/")
        link = Path(self._spill.name, name)
        link.symlink_to(files.base)
        return str(link)

    def _table(self, root: str, names: Sequence[str]) -> str:
        """Parquet files of the run or of its work folder as a table, with `filename` and `file_row_number`."""
        listed = ", ".join(_literal(f"{self._roots[root]}/{name}") for name in names)
        return f"read_parquet([{listed}], union_by_name = true, filename = true, file_row_number = true)"

    def _parts(self, folder: str) -> list[str]:
        return [f"{folder}/{name}" for name in self._files.names(folder) if name.endswith(".parquet")]

    def _present(self, phase: str) -> list[str]:
        """Units of this run whose part of a phase is still there, in the order of the input."""
        names = set(self.work.names(phase)) if phase else set()
        return list(dict.fromkeys(unit for unit, _ in self._units if f"{unit}.docs.parquet" in names))

    # The database.

    def _opened(self, kept: Sequence[str], ledger: Sequence[str], threads: int | None) -> duckdb.DuckDBPyConnection:
        config: dict[str, str | int] = {"memory_limit": _MEMORY, "temp_directory": self._spill.name}
        database = duckdb.connect(config={**config, **({"threads": threads} if threads else {})})
        for files in {id(one.store): one for one in (self._files, self.work) if one.store is not None}.values():
            assert files.store is not None
            database.register_filesystem(files.store.filesystem)
        database.execute(f"CREATE MACRO host_of(url) AS {_HOST}")
        database.execute(f"CREATE VIEW documents AS {self._documents(kept, ledger)}")
        database.execute(f"CREATE VIEW placed AS {self._layer(self.manifest.get('base', ''), ['id'])}")
        database.execute(
            "CREATE VIEW withheld AS WITH RECURSIVE found(id) AS (SELECT id FROM documents WHERE reason = 'removed' "
            "UNION SELECT documents.id FROM documents JOIN found ON documents.partner = found.id) SELECT id FROM found"
        )
        allowed = [_literal(f"{folder}/") for folder in (*self._roots.values(), self._spill.name)]
        database.execute(f"SET allowed_directories = [{', '.join(allowed)}]")
        # Whatever a query might come to hold: no other file, no network, no extension, and no way back.
        database.execute("SET enable_external_access = false; SET lock_configuration = true")
        return database

    def _documents(self, kept: Sequence[str], ledger: Sequence[str]) -> str:
        """Kept documents first, both in the order of the input. Columns of scores are null in the ledger."""
        own = [name for name in ("title", "language") if name in self.columns]
        nulls = ", ".join(
            f"NULL::{kind} AS {name}"
            for name, kind in (
                ('"end"', "BIGINT"), ("stage", "VARCHAR"), ("reason", "VARCHAR"), ("measured", "DOUBLE"),
                ("threshold", "DOUBLE"), ("partner", "VARCHAR"), ("detail", "VARCHAR"), ("excerpt", "VARCHAR"),
            )
        )  # fmt: skip
        shown = ", ".join(name if name in own else f"NULL::VARCHAR AS {name}" for name in ("title", "language"))
        scores = "".join(f", {_name(name)}" for name in self.scores)
        of_kept = (
            f"SELECT {_COMMON}, host_of(url) AS host, {shown}, 'kept' AS outcome, {nulls}, filename AS file, "
            f"file_row_number AS row, text{scores} FROM {self._table('run', kept)}"
        )
        of_ledger = (
            f"SELECT {_COMMON}, host_of(url) AS host, NULL AS title, "
            f"{_FOUND} AS language, "
            'outcome, "end", stage, reason, measured, threshold, partner, detail, excerpt, filename AS file, '
            f"file_row_number AS row, NULL AS text{''.join(f', {self._ledger_score(name)}' for name in self.scores)} "
            f"FROM {self._table('run', ledger)}"
        )
        if not kept:
            return of_ledger
        return f"{of_kept} UNION ALL {of_ledger}" if ledger else of_kept

    def _ledger_score(self, name: str) -> str:
        """What the ledger itself knows of a score: the value measured, in the rows that this score made."""
        judged = judged_columns(self.stages).get(name)
        if judged is None:
            return f"NULL::DOUBLE AS {_name(name)}"
        same = f"reason = {_literal(judged.reason)}"
        if judged.detail:
            same += f" AND starts_with(detail, {_literal(judged.detail)})"
        return f"CASE WHEN {same} THEN measured END AS {_name(name)}"

    def _layer(self, phase: str, columns: Sequence[str]) -> str:
        """unit, row and columns of a phase's parts, as far as they are there."""
        units = self._present(phase)
        if not units:
            empty = ", ".join(f"NULL::VARCHAR AS {_name(column)}" for column in columns)
            return f"SELECT NULL::VARCHAR AS unit, NULL::BIGINT AS row, {empty} WHERE false"
        listed = self._table("work", [f"{phase}/{unit}.docs.parquet" for unit in units])
        named = ", ".join(map(_name, columns))
        own = "split_part(parse_filename(filename), '.', 1) AS unit, file_row_number AS row"
        return f"SELECT {own}, {named} FROM {listed}"

    @contextmanager
    def _asking(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A cursor that is interrupted after SECONDS."""
        cursor = self._database.cursor()
        alarm = threading.Timer(SECONDS, cursor.interrupt)
        alarm.daemon = True
        alarm.start()
        try:
            yield cursor
        except duckdb.InterruptException as error:
            raise TooSlowError(f"this took more than {SECONDS:.0f} s and was stopped") from error
        finally:
            alarm.cancel()
            cursor.close()

    # Lists.

    def page(self, asked: Asked) -> tuple[list[dict[str, Any]], bool]:
        """The rows of one page, and whether another follows."""
        source, where, values = self._selected(asked)
        down = "DESC" if asked.first else "ASC"
        # A join keeps no order.
        order = "" if source == "documents" else "ORDER BY outcome <> 'kept', file, row"
        if asked.order:
            order = f"ORDER BY {_name(asked.order)} {down} NULLS LAST, id"
        shown = [name for name in (asked.score, asked.order) if name in self.scores]
        columns = (
            f'{_COMMON}, host, title, language, outcome, "end", stage, reason, measured, threshold, partner, detail, '
            f"excerpt, file, row{''.join(f', {_name(name)}' for name in dict.fromkeys(shown))}"
        )
        with self._asking() as cursor:
            cursor.execute(
                f"SELECT {columns} FROM {source} WHERE {where} {order} LIMIT ? OFFSET ?",
                [*values, PAGE_ROWS + 1, (asked.page - 1) * PAGE_ROWS],
            )
            rows = _rows(cursor)
            self._add_excerpts(cursor, rows[:PAGE_ROWS])
        return rows[:PAGE_ROWS], len(rows) > PAGE_ROWS

    def count(self, asked: Asked) -> tuple[int, bool]:
        """How many documents a list has, and whether that is all: words are counted up to COUNTED."""
        source, where, values = self._selected(asked)
        bounded = bool(asked.wanted_words)
        limit = f"LIMIT {COUNTED + 1}" if bounded else ""
        with self._asking() as cursor:
            query = f"SELECT count(*) FROM (SELECT 1 FROM {source} WHERE {where} {limit})"
            found = cursor.execute(query, values).fetchall()[0][0]
        return (COUNTED, False) if bounded and found > COUNTED else (found, True)

    def _selected(self, asked: Asked) -> tuple[str, str, list[Any]]:
        """FROM and WHERE of a list, and the values of its parameters. Names of columns are the run's own; everything
        that a visitor wrote is a parameter."""
        clauses, values = ["true"], list[Any]()
        for name in ("outcome", "stage", "reason", "source", "partner", "language"):
            if value := getattr(asked, name):
                clauses.append(f"{name} = ?")
                values.append(value)
        if asked.host:
            clauses.append("(host = lower(?) OR ends_with(host, '.' || lower(?)))")
            values += [asked.host] * 2
        if asked.id:
            clauses.append("starts_with(id, ?)")
            values.append(asked.id)
        for limit, sign in ((asked.least, ">="), (asked.most, "<=")):
            if limit is not None:
                clauses.append(f"{_name(asked.score)} {sign} ?")
                values.append(limit)
        if asked.wanted_words:
            clause, words = self._holding(asked.wanted_words)
            clauses.append(clause)
            values += words
        scores = (asked.score if asked.least is not None or asked.most is not None else "", asked.order)
        needed = [*(["language"] if asked.language else []), *(name for name in scores if name in self.scores)]
        return self._joined(needed), " AND ".join(clauses), values

    def _holding(self, words: Sequence[str]) -> tuple[str, list[str]]:
        """Documents whose text holds all words. The texts of dropped ones are in the work folder, or gone: then only
        the excerpt in the ledger is searched."""

        def every(column: str) -> str:
            return " AND ".join(f"contains(lower({column}), lower(?))" for _ in words)

        looked = [f"({every('text')})", f"({every('excerpt')})"]
        if self.units_with_texts:
            texts = self._layer(self.manifest["base"], ["id", "text"])
            looked.append(
                f"(outcome <> 'kept' AND id IN (SELECT id FROM ({texts}) WHERE {every('text')}) "
                "AND id NOT IN (SELECT id FROM withheld))"
            )
        return f"({' OR '.join(looked)})", [*words] * len(looked)

    def _joined(self, columns: Sequence[str]) -> str:
        """`documents`, with these columns of dropped documents filled in from the work folder."""
        holders = {
            column: phase for phases in self._in_order() for column, phase in phases.items() if column in columns
        }
        wanted = [column for column in dict.fromkeys(columns) if column in holders and self._present(holders[column])]
        if not wanted or not self.units_with_texts:
            return "documents"
        joins, filled = "", ""
        for number, column in enumerate(wanted):
            layer = self._layer(holders[column], [column])
            joins += f" LEFT JOIN ({layer}) AS layer{number} USING (unit, row)"
            filled += f", layer{number}.{_name(column)} AS filled{number}"
        measures = f"(SELECT placed.id{filled} FROM placed{joins}) AS measures"
        replaced = ", ".join(
            f"coalesce(documents.{_name(column)}, measures.filled{number}) AS {_name(column)}"
            for number, column in enumerate(wanted)
        )
        return f"(SELECT documents.* REPLACE ({replaced}) FROM documents LEFT JOIN {measures} USING (id))"

    def _in_order(self) -> list[Mapping[str, str]]:
        """Of each stage that judged, in the order of the funnel: column -> phase. The last one of a column counts."""
        columns = self.manifest.get("columns", {})
        return [columns[stage["stage"]] for stage in self.manifest["counts"]["stages"] if stage["stage"] in columns]

    def _add_excerpts(self, cursor: duckdb.DuckDBPyConnection, rows: list[dict[str, Any]]) -> None:
        """The beginnings of kept documents' texts, where the page's rows lie in few files."""
        kept = sorted((row for row in rows if row["outcome"] == "kept"), key=lambda row: (row["file"], row["row"]))
        by_file = {file: list(group) for file, group in itertools.groupby(kept, key=lambda row: row["file"])}
        for file, group in by_file.items() if len(by_file) <= _EXCERPT_FILES else ():
            found = cursor.execute(
                "SELECT file_row_number, left(text, ?) FROM read_parquet(?, file_row_number = true) "
                "WHERE file_row_number BETWEEN ? AND ? AND list_contains(?, file_row_number)",
                [
                    _EXCERPT_CHARACTERS, file, group[0]["row"], group[-1]["row"],
                    [row["row"] for row in group],
                ],
            ).fetchall()  # fmt: skip
            texts = dict(found)
            for row in group:
                row["excerpt"] = texts.get(row["row"])

    # One document.

    def document(self, identity: str) -> dict[str, Any] | None:
        """One document's row of `documents`, with all its columns; None if the run has no such id."""
        with self._asking() as cursor:
            cursor.execute("SELECT * EXCLUDE (text) FROM documents WHERE id = ?", [identity])
            return next(iter(_rows(cursor)), None)

    def duplicates(self, identity: str) -> int:
        """Documents that were removed because this one was kept."""
        with self._asking() as cursor:
            found = cursor.execute("SELECT count(*) FROM documents WHERE partner = ?", [identity]).fetchall()
        return int(found[0][0])

    def is_withheld(self, identity: str) -> bool:
        with self._asking() as cursor:
            return bool(cursor.execute("SELECT 1 FROM withheld WHERE id = ?", [identity]).fetchall())

    def measures(self, row: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """Stage -> column -> the value that the stage judged, as far as the work folder still holds it."""
        return measured_values(self.manifest, self.work, row) if "splits" in self.manifest else {}

    def text(self, row: Mapping[str, Any]) -> str | None:
        """The text of a document: as it was kept, or as the stage saw it that dropped it. None: there is none, or it
        is gone with the work folder, or it was taken down."""
        if row["outcome"] == "kept":
            with self._asking() as cursor:
                found = cursor.execute(
                    "SELECT text FROM read_parquet(?, file_row_number = true) WHERE file_row_number = ?",
                    [row["file"], row["row"]],
                ).fetchall()
            return str(found[0][0])
        if not self.units_with_texts or self.is_withheld(row["id"]):
            return None
        with self._asking() as cursor:
            place = cursor.execute("SELECT unit, row FROM placed WHERE id = ?", [row["id"]]).fetchall()
            if not place:
                return None
            unit, number = place[0]
            for phase in text_phases(self.manifest, self.work, row["stage"], unit):
                found = cursor.execute(
                    "SELECT text FROM read_parquet(?, file_row_number = true) WHERE file_row_number = ?",
                    [f"{self._roots['work']}/{phase}/{unit}.docs.parquet", number],
                ).fetchall()
                if found and found[0][0] is not None:
                    return str(found[0][0])
        return None


def _rows(cursor: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    names = [column[0] for column in cursor.description or ()]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def _name(column: str) -> str:
    """A column's name in a query."""
    escaped = column.replace('"', '""')
    return f'"{escaped}"'


def _literal(text: str) -> str:
    """A string of our own in a query: paths, reason codes."""
    escaped = text.replace("'", "''")
    return f"'{escaped}'"
