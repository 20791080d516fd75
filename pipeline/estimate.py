"""`tamis estimate corpus`: time, cost and disk of a large crawl, from what finished runs of the recipe measured.

Every phase's CPU seconds and bytes are taken from the manifests and stretched to the size asked for:

- Phases over documents and texts grow with the input. One run gives a rate, in which the start of every worker is
  still contained (models loaded, kernels compiled); two runs or more of different sizes give a line, whose height at
  zero is that start, which a large crawl pays once a worker and not once a gigabyte.
- An exchange writes and reads its rows once more for each further level of merging (docs/scale.md): that is the
  logarithm in its n log n.
- The decisions of near deduplication come in a row, on one core, while the others wait.
- A vocabulary is learned from a sample of a fixed size.

What is not in it: the way from an object store to a worker, machines that stand still, pages that are unlike those of
the measured runs. `benchmarks/estimate.py` measures the error; docs/scale.md has it.
"""

import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, Final

import typer

from pipeline.exits import told
from pipeline.outputs import read_manifest
from pipeline.report.page import duration, size

#: Share of the cores' time that is work: two nodes of a core each must do at least 1.6 times what one does.
EFFICIENCY: Final = 0.8
#: docs/scale.md: 16 splits a map task, 500 runs a merge, the rows of a document moved once more in 3 microseconds; of
#: near deduplication 0.1 microseconds a document, and 0.04 s a range of 1.33 million documents, in a row.
_SPLIT_BYTES: Final = 64e6
_SPLITS_A_TASK: Final = 16
_FAN_IN: Final = 500
_LEVEL_SECONDS: Final = 3e-6
_DECIDE_SECONDS: Final = 1e-7
_RANGE_DOCUMENTS: Final = 1.33e6
_RANGE_SECONDS: Final = 0.04
#: Phases whose work does not grow with the input.
_FIXED: Final = frozenset({"vocabulary"})
#: Steps of exchanges whose rows every further level of merging writes once more.
_MERGED: Final = (".runs", ".keys", ".spans", ".asks")


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What one finished run says of its cost."""

    input_bytes: int
    documents: int
    text_bytes: int
    #: Processes that ran its tasks, each of which starts.
    workers: int
    #: By phase name: CPU seconds and bytes written, summed where a name comes more than once.
    seconds: Mapping[str, float]
    bytes: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """One size of input on given machines."""

    input_bytes: float
    documents: float
    text_bytes: float
    core_seconds: float
    #: Of these, what runs on one core while the others wait.
    serial_seconds: float
    wall_seconds: float
    disk_bytes: float
    result_bytes: float
    cost: float | None
    #: How many times the largest measured run this is.
    times_measured: float
    phases: dict[str, float] = field(default_factory=dict)


def measured(manifest: Mapping[str, Any]) -> Measured:
    """ValueError if the manifest was written before phases counted their CPU seconds and bytes."""
    seconds: dict[str, float] = defaultdict(float)
    written: dict[str, int] = defaultdict(int)
    for phase in manifest["phases"]:
        if "cpu_seconds" not in phase:
            raise ValueError(f"{manifest['name']}: this run was made before CPU seconds were counted: run it again")
        seconds[phase["name"]] += phase["cpu_seconds"]
        written[phase["name"]] += phase["bytes"]
    total = sum(source["size_bytes"] for source in manifest["sources"])
    if not total:
        raise ValueError(f"{manifest['name']}: this run read no byte")
    counts = manifest["counts"]
    read = counts["stages"][1]["text_bytes_kept"] if len(counts["stages"]) > 1 else counts["text_bytes"]
    return Measured(
        input_bytes=total,
        documents=counts["documents"],
        text_bytes=read,
        workers=manifest["observed"]["workers"],
        seconds=dict(seconds),
        bytes=dict(written),
    )


def estimate(
    runs: Sequence[Measured], input_bytes: float, *, machines: int, cores: int, efficiency: float = EFFICIENCY,
    price: float | None = None,
) -> Estimate:  # fmt: skip
    """What so many bytes of input would take. ValueError if no run is given."""
    if not runs:
        raise ValueError("no run to estimate from")
    largest = max(runs, key=lambda run: run.input_bytes)
    times = input_bytes / largest.input_bytes
    documents = largest.documents * times
    workers = machines * cores
    levels = merge_levels(input_bytes) - merge_levels(largest.input_bytes)
    phases, serial, disk = {}, 0.0, 0.0
    started = sum(run.workers for run in runs) / len(runs)
    for name in largest.seconds:
        start, rate = _line([(run.input_bytes, run.seconds[name]) for run in runs if name in run.seconds])
        # What a run pays to start, every worker pays.
        phases[name] = start if name in _FIXED else start / started * workers + rate * input_bytes
        grown = largest.bytes[name] * (1 if name in _FIXED else times)
        if name in _FIXED:
            phases[name] += rate * largest.input_bytes
        if name.endswith(_MERGED):
            phases[name] += levels * _LEVEL_SECONDS * documents
            grown *= 1 + max(0, levels)
        disk += grown
        if name.endswith(".decide") and times > 1:
            serial += documents * _DECIDE_SECONDS + _RANGE_SECONDS * math.floor(documents / _RANGE_DOCUMENTS)
    total = sum(phases.values())
    wall = max(0.0, total - serial) / (workers * efficiency) + serial
    results = sum(largest.bytes[name] * times for name in largest.bytes if name in ("publish", "shards"))
    return Estimate(
        input_bytes=input_bytes, documents=documents, text_bytes=largest.text_bytes * times, core_seconds=total,
        serial_seconds=serial, wall_seconds=wall, disk_bytes=disk, result_bytes=results,
        cost=None if price is None else price * machines * wall / 3600, times_measured=times,
        phases=dict(sorted(phases.items(), key=lambda item: -item[1])),
    )  # fmt: skip


def merge_levels(input_bytes: float) -> int:
    """How often an exchange over so much input writes its rows: once, and once more for each level of merging."""
    tasks = max(1.0, input_bytes / _SPLIT_BYTES / _SPLITS_A_TASK)
    return max(1, math.ceil(math.log(tasks, _FAN_IN)))


def _line(points: Sequence[tuple[int, float]]) -> tuple[float, float]:
    """(seconds at the start, seconds a byte) by least squares, neither below 0; through the origin for one size."""
    sizes = {x for x, _ in points}
    through_origin = sum(x * y for x, y in points) / sum(x * x for x, _ in points)
    if len(sizes) < 2:
        return 0.0, through_origin
    mean_x, mean_y = (sum(point[axis] for point in points) / len(points) for axis in (0, 1))
    rate = sum((x - mean_x) * (y - mean_y) for x, y in points) / sum((x - mean_x) ** 2 for x, _ in points)
    start = mean_y - rate * mean_x
    # A run that took less for more says nothing of what starting costs.
    return (start, rate) if start >= 0 and rate > 0 else (0.0, through_origin)


def estimate_text(found: Sequence[Estimate], *, machines: int, cores: int, efficiency: float) -> str:
    """A table, and where the time of the largest size goes."""
    rows = [("input", "documents", "text", "core hours", "hours", "cost", "disk", "of it results")]
    rows += [
        (
            size(one.input_bytes), f"{one.documents:.2g}", size(one.text_bytes), f"{one.core_seconds / 3600:,.0f}",
            f"{one.wall_seconds / 3600:,.1f}", "" if one.cost is None else f"{one.cost:,.0f}",
            size(one.disk_bytes), size(one.result_bytes),
        )
        for one in found
    ]  # fmt: skip
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    last = found[-1]
    lines.append(f"\n{machines:,} machines of {cores:,} cores, of whose time {efficiency:.0%} is work.")
    if last.serial_seconds >= 1:
        lines.append(f"At {size(last.input_bytes)}, {duration(last.serial_seconds)} run on one core while others wait.")
    lines.append(
        f"{size(last.input_bytes)} is {last.times_measured:,.0f} times what was measured. Disk: the work folder before "
        "`tamis gc` frees anything."
    )
    lines.append(f"Where the core hours of {size(last.input_bytes)} go:")
    for name, seconds in list(last.phases.items())[:12]:
        lines.append(f"  {name:<32} {seconds / 3600:>12,.1f}  {seconds / (last.core_seconds or 1):>6.1%}")
    return "\n".join(lines)


def estimate_corpus_command(
    runs: Annotated[
        list[str], typer.Argument(help="finished runs of the recipe; two of different sizes tell start from rate")
    ],
    terabytes: Annotated[
        list[float] | None,
        typer.Option(help="size of the input in 10^12 bytes, as it lies there; repeatable [default: 1, 10, 100]"),
    ] = None,
    machines: Annotated[int, typer.Option(min=1, help="how many")] = 1,
    cores: Annotated[int, typer.Option(min=1, help="cores of each machine")] = 32,
    price: Annotated[float | None, typer.Option(help="of one machine and hour, for the cost")] = None,
    efficiency: Annotated[
        float, typer.Option(min=0.01, max=1.0, help="share of the cores' time that is work")
    ] = EFFICIENCY,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON instead of text")] = False,
) -> None:
    """Time, cost and disk of a crawl of terabytes, from the measured rates of finished runs."""
    with told():
        costs = [measured(read_manifest(run)) for run in runs]
        sizes = sorted(terabytes or [1.0, 10.0, 100.0])
        found = [
            estimate(costs, one * 1e12, machines=machines, cores=cores, efficiency=efficiency, price=price)
            for one in sizes
        ]
        if as_json:
            print(json.dumps([asdict(one) for one in found], indent=1))
        else:
            print(estimate_text(found, machines=machines, cores=cores, efficiency=efficiency))
