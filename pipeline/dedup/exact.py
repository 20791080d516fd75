"""Exact deduplication: of documents with the same text, or the same address, one survives, whatever the order, the
splits or the workers.

exact_dedup.keys    a part a split: 128-bit keys of texts, and the order of survivors
exact_dedup.groups  the exchange by key (groups.py)
exact_dedup         the ledger, a part a split
url_dedup.keys …    the same by canonical URL
identical.keys …    the same by payload, before extraction (pipeline/phases/glance.py)
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa

from pipeline import exchange
from pipeline.dedup.groups import FOLLOWERS, Grouping, group
from pipeline.dedup.rejections import Rejections, write_ledger
from pipeline.dedup.survivors import id_text, ordering, ordering_columns, row_of, split_of
from pipeline.engine import Engine, content_key, key_of
from pipeline.exchange import read_partition
from pipeline.keys import library_versions, source_key
from pipeline.parts import Output, Task
from pipeline.view import View, read_documents
from stages.exact_dedup import ExactDedupSettings
from stages.normalise import text_keys
from stages.survivors import Criterion, SurvivorSettings
from stages.url_dedup import UrlDedupSettings, url_keys

#: Libraries whose versions enter the keys of all deduplication.
LIBRARIES: Final = ("numba", "numpy", "pyarrow", "xxhash")
MODULES: Final = (
    *exchange.MODULES, "pipeline.dedup.exact", "pipeline.dedup.groups", "pipeline.dedup.rejections",
    "pipeline.dedup.survivors", "stages.exact_dedup", "stages.normalise", "stages.schema",
    "stages.survivors", "stages.url_dedup",
)  # fmt: skip


def text_key_part(output: Output, *, view: View, unit: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Task: `keys`: row, key and order of each living document that has a text."""
    chosen = ExactDedupSettings(**settings)
    documents = read_documents(output.files, view, unit, ordering_columns(view, chosen))
    keys, has = text_keys(documents["text"], normalised=chosen.compare == "normal_form")
    return _write_keys(output, documents, keys=keys, has=has, chosen=chosen)


def url_key_part(output: Output, *, view: View, unit: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Task: `keys`: row, key and order of each living document that has an address."""
    chosen = UrlDedupSettings(**settings)
    documents = read_documents(output.files, view, unit, ["url", *ordering_columns(view, chosen)])
    keys, has = url_keys(documents["url"], chosen)
    return _write_keys(output, documents, keys=keys, has=has, chosen=chosen)


class IdenticalSettings(SurvivorSettings):
    """Records with the same payload and declared type: of what is the same to the byte the smallest id is kept."""

    survivor: tuple[Criterion, ...] = ("smallest_id",)


def payload_key_part(output: Output, *, view: View, unit: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Task: `keys`: row, key and order of each living record that has a payload."""
    chosen = IdenticalSettings(**settings)
    documents = read_documents(output.files, view, unit, ["payload0", "payload1", *ordering_columns(view, chosen)])
    keys = np.stack([documents["payload0"].to_numpy(), documents["payload1"].to_numpy()], axis=1)
    return _write_keys(output, documents, keys=keys, has=np.ones(len(keys), dtype=bool), chosen=chosen)


def _write_keys(
    output: Output, documents: pa.Table, *, keys: np.ndarray, has: np.ndarray, chosen: SurvivorSettings
) -> dict[str, Any]:
    order = ordering(documents, chosen)
    columns = {"row": documents["row"].to_numpy(), "key0": keys[:, 0], "key1": keys[:, 1], **order}
    output.table("keys", pa.table({name: values[has] for name, values in columns.items()}))
    return {"documents": documents.num_rows, "keyed": int(has.sum())}


def followers_of(output: Output, runs: Sequence[str], split: int, grouping: Grouping) -> pa.Table:
    """FOLLOWERS of one split, ascending by row."""
    rows = read_partition(output.files, runs, split // grouping.size, schema=FOLLOWERS)
    docs = rows["doc"].to_numpy()
    mine = np.flatnonzero(split_of(docs) == split)
    return rows.take(pa.array(mine[np.argsort(docs[mine])]))


def exact_ledger(
    output: Output,
    *,
    view: View,
    unit: str,
    label: str,
    reason: str,
    followers: Sequence[str],
    split: int,
    grouping: Grouping,
) -> dict[str, Any]:
    """Task: `ledger`: every follower, with the leader of its group as partner."""
    rows = followers_of(output, followers, split, grouping)
    return write_ledger(
        output,
        view,
        unit,
        Rejections(
            label=label,
            reason=reason,
            rows=row_of(rows["doc"].to_numpy()),
            measured=np.ones(rows.num_rows),
            threshold=1.0,
            partner=id_text(rows["id0"].to_numpy(), rows["id1"].to_numpy()),
        ),
    )


#: By kind of settings: name of the phases, function that makes the keys, reason in the ledger.
_KINDS: Final[dict[type, tuple[str, str, str]]] = {
    ExactDedupSettings: ("exact_dedup", text_key_part.__name__, "exact_dup"),
    UrlDedupSettings: ("url_dedup", url_key_part.__name__, "same_url"),
    IdenticalSettings: ("identical", payload_key_part.__name__, "exact_dup"),
}


def exact_dedup(
    engine: Engine,
    view: View,
    settings: ExactDedupSettings | UrlDedupSettings | IdenticalSettings,
    *,
    upstream: str,
    label: str | None = None,
    partition_bytes: int = exchange.PARTITION_BYTES,
) -> str:
    """The phase whose parts are the ledger of exact deduplication, by text, address or payload, one for each split
    of the view.

    `upstream` is the content key of what the view holds; `label` the stage's name in the ledger. `partition_bytes`
    bounds what a reduce task reads at once; it changes the parts on the way, never the result.
    """
    name, keyed_by, reason = _KINDS[type(settings)]
    code = [source_key(MODULES), library_versions(LIBRARIES)]
    given = settings.model_dump(mode="json")
    key = key_of("keys", name, given, code, upstream)
    keyed = engine.run(
        [
            Task(
                phase=f"{name}.keys-{key}",
                unit=unit,
                function=f"pipeline.dedup.exact:{keyed_by}",
                arguments={"view": view, "unit": unit, "settings": given},
            )
            for unit in view.units
        ]
    )
    grouping = Grouping(splits=len(view.units))
    key = key_of(given, code, upstream, content_key(keyed), partition_bytes)
    grouped = group(engine, keyed, name=name, key=key, grouping=grouping, partition_bytes=partition_bytes)
    phase = f"{name}-{key_of(key, label or name)}"
    engine.run(
        [
            Task(
                phase=phase,
                unit=unit,
                function="pipeline.dedup.exact:exact_ledger",
                arguments={
                    "view": view,
                    "unit": unit,
                    "label": label or name,
                    "reason": reason,
                    "followers": grouped.followers,
                    "split": split,
                    "grouping": grouping,
                },
            )
            for split, unit in enumerate(view.units)
        ]
    )
    return phase
