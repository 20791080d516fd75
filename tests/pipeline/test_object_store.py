"""The whole pipeline on s3://: the same bytes as on a disk, whatever the store does to single requests."""

import gzip
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from datetime import timedelta
from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pytest
from corpus import make_crawl
from s3_server import CREDENTIALS, environment, started_proxy, started_server
from test_jsonl import line
from token_corpus import counting_shards
from warcs import member, pages

import pipeline.object_store
from pipeline.files import Files
from pipeline.object_store import ObjectStore
from pipeline.parts import AttemptsDifferError, Task, commit_name, execute
from pipeline.recipe import load_recipe
from pipeline.report.place import report_of
from pipeline.run import Options, run
from pipeline.sources import places
from pipeline.sources.archive import Chain, Limits
from pipeline.sources.listing import InputError, cut, list_sources
from pipeline.sources.reader import read_split
from pipeline.sources.records import Document
from pipeline.verify import verify
from tokenizer.shards import ShardError, ShardSet
from train.loader import Loader

pytest.importorskip("s3fs", reason="the extra `s3` is not installed")
pytest.importorskip("moto", reason="the extra `dev` is not installed")

ROOT = Path(__file__).parents[2]


def forget() -> None:
    """Connections are kept by address; the next one is made by the environment as it is then."""
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    places._store.cache_clear()


@pytest.fixture(scope="module")
def server():
    with started_server() as address:
        yield address


@pytest.fixture
def bucket(server, monkeypatch):
    """s3://NAME, empty, for this test alone."""
    for name, value in {**CREDENTIALS, "AWS_ENDPOINT_URL": server}.items():
        monkeypatch.setenv(name, value)
    forget()
    name = f"bucket-{uuid.uuid4().hex}"
    fsspec.filesystem("s3", use_listings_cache=False).mkdir(name)
    yield f"s3://{name}"
    forget()


@pytest.fixture
def proxy(bucket, server, monkeypatch):
    """The same bucket behind a proxy that fails as the test says."""
    with started_proxy(server) as between:
        monkeypatch.setenv("AWS_ENDPOINT_URL", between.address)
        forget()
        yield between


#: Every kind of phase once: judged measures, exchanges, filters, a vocabulary and shards.
RECIPE = """\
name: test
input: {{paths: ["{place}/crawl"]}}
stages:
  - {{type: extract, engine: resiliparse}}
  - {{type: gopher_quality, min_stop_words: 1}}
  - {{type: exact_dedup}}
  - {{type: bloom, seen: "{place}/seen"}}
tokenizer: {{vocab_size: 300}}
shards: {{tokens_per_shard: 9000, seed: 1}}
"""


def recipe_at(place: str, folder: Path) -> Path:
    """The recipe over PLACE/crawl, with its filters in PLACE/seen."""
    (folder / "r.yaml").write_text(RECIPE.format(place=place))
    return folder / "r.yaml"


def upload(folder: Path, place: str) -> None:
    store = ObjectStore(place)
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            store.put(f"{store.base}/{path.relative_to(folder)}", path)


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    """A crawl on the disk, and the root of a run over it there."""
    folder = tmp_path_factory.mktemp("local")
    crawl = make_crawl(folder / "crawl", files=1, pages_per_file=12)
    options = Options(out=str(folder / "out"), work=str(folder / "work"), runner="inline")
    return crawl, run(load_recipe(recipe_at(str(folder), folder)), options)


def options_on(bucket: str) -> Options:
    return Options(out=f"{bucket}/runs/out", work=f"{bucket}/work", runner="inline")


@pytest.mark.slow
def test_a_run_in_a_failing_store_ends_with_the_root_of_a_local_one(local, bucket, proxy, tmp_path):
    """Every 150th request is answered with 500 or 503, one is slow, and one upload arrives with other bytes."""
    crawl, reference = local
    upload(crawl, f"{bucket}/crawl")
    torn = []

    def fault(request, number):
        if request.method == "PUT" and request.path.endswith(".docs.parquet") and not torn:
            torn.append(request.path)
            request.body = request.body[:-100] + bytes(100)
        if number == 100:
            time.sleep(1)
        if number % 150 == 0:
            return (500, "InternalError") if number % 300 else (503, "SlowDown")
        return None

    proxy.fault = fault
    manifest = run(load_recipe(recipe_at(bucket, tmp_path)), options_on(bucket))
    assert manifest["root"] == reference["root"]
    assert torn
    assert proxy.faults > 2
    proxy.fault = None
    findings, looked = verify(f"{bucket}/runs/out", inputs=[f"{bucket}/crawl"])
    assert findings == []
    assert looked["input documents"] == reference["counts"]["documents"]
    assert b"<html" in fsspec.filesystem("s3").cat_file(report_of(f"{bucket}/runs/out"))
    # What reads shards for training goes another way, through arrow's own client.
    assert ShardSet.from_folder(f"{bucket}/runs/out/shards").tokens > 0
    everything = b"".join(ObjectStore(bucket).read(path) for path in ObjectStore(bucket).below(bucket[5:]))
    assert CREDENTIALS["AWS_SECRET_ACCESS_KEY"].encode() not in everything


def test_a_killed_run_on_s3_goes_on_by_the_same_command(local, bucket, server, tmp_path):
    crawl, reference = local
    upload(crawl, f"{bucket}/crawl")
    recipe, options = recipe_at(bucket, tmp_path), options_on(bucket)
    command = [sys.executable, "-m", "pipeline.cli", "run", str(recipe), "--out", options.out, "--work", options.work,
               "--runner", "inline"]  # fmt: skip
    driver = subprocess.Popen(command, env={**environment(server), "PYTHONPATH": str(ROOT)}, cwd=tmp_path,
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    store, deadline = ObjectStore(bucket), time.monotonic() + 120

    def commits() -> int:
        return sum(path.endswith(".commit.json") for path in store.below(bucket[5:]))

    while (done := commits()) < 8:
        assert driver.poll() is None, "the driver ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()
    again = run(load_recipe(recipe), options)
    assert again["root"] == reference["root"]
    assert sum(phase["executed"] for phase in again["phases"]) <= sum(p["units"] for p in again["phases"]) - done


def documents(paths, *, split_bytes: int) -> list[Document]:
    found = []
    for split in cut(list_sources(paths, cache={}), split_bytes=split_bytes):
        found += [item for item in read_split(split, Chain(), Limits()) if isinstance(item, Document)]
    return found


def test_warc_lines_and_tables_are_read_as_from_a_disk(bucket, tmp_path):
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.warc.gz").write_bytes(b"".join(map(member, pages(300))))
    (folder / "sub/b.jsonl").write_bytes(b"".join(map(line, range(500))))
    (folder / "sub/c.jsonl.gz").write_bytes(gzip.compress(b"".join(map(line, range(50)))))
    (folder / "page.html").write_bytes(b"<p>One page.</p>")
    table = pa.table({"text": [f"Text number {n}, a different one each time." for n in range(200)]})
    Files(folder).write_table("d.parquet", table, rows_per_group=40)
    upload(folder, f"{bucket}/in")
    wanted = documents([str(folder)], split_bytes=20_000)
    assert len(wanted) == 300 + 500 + 50 + 1 + 200
    assert documents([f"{bucket}/in"], split_bytes=20_000) == wanted
    assert documents([f"{bucket}/in/sub/*.gz"], split_bytes=20_000) == documents(
        [str(folder / "sub/*.gz")], split_bytes=20_000
    )
    assert [source.name for source in list_sources([f"{bucket}/in/sub/b.jsonl"], cache={})] == ["b.jsonl"]
    with pytest.raises(InputError, match="names no file"):
        list_sources([f"{bucket}/nothing"], cache={})


def test_an_object_that_changes_after_the_plan_stops_the_run(bucket):
    store = ObjectStore(bucket)
    store.put_new(f"{store.base}/a.jsonl", line(1))
    (split,) = cut(list_sources([f"{bucket}/a.jsonl"], cache={}), split_bytes=1000)
    fsspec.filesystem("s3").pipe_file(f"{store.base}/a.jsonl", line(1).swapcase())
    with pytest.raises(OSError, match=r"a\.jsonl was changed since"):
        list(read_split(split, Chain(), Limits()))


def made(output, *, value, meanwhile=None):
    output.table("docs", pa.table({"x": [value]}))
    if meanwhile is not None:
        (Files(output.files.root)).write_once(commit_name("p-1", "u"), json.dumps(meanwhile).encode())
    return {"rows": 1}


@pytest.mark.parametrize("remote", [False, True])
def test_the_first_commit_record_counts(bucket, tmp_path, remote):
    root = f"{bucket}/work" if remote else str(tmp_path)
    first = execute(root, Task(phase="p-1", unit="u", function="test_object_store:made", arguments={"value": 7}))
    record = json.loads(Files(root).read(commit_name("p-1", "u")))
    Files(root).delete(commit_name("p-1", "u"))
    record["observed"]["seconds"] = 99.0
    # Another attempt commits while this one works: the same bytes are fine, its own record is dropped.
    overtaken = {"value": 7, "meanwhile": record}
    again = execute(root, Task(phase="p-1", unit="u", function="test_object_store:made", arguments=overtaken))
    assert (again.files, again.observed["seconds"]) == (first.files, 99.0)
    Files(root).delete(commit_name("p-1", "u"))
    overtaken["value"] = 8
    with pytest.raises(AttemptsDifferError, match="two attempts made different bytes"):
        execute(root, Task(phase="p-1", unit="u", function="test_object_store:made", arguments=overtaken))


def test_uploads_in_parts_are_compared_and_the_unfinished_ones_found(bucket, tmp_path, monkeypatch):
    # S3 wants parts of 5 MiB at least.
    monkeypatch.setattr(pipeline.object_store, "_PART_BYTES", 5 << 20)
    large, store = tmp_path / "large", ObjectStore(bucket)
    large.write_bytes(os.urandom(11 << 20))
    store.put(f"{store.base}/work/large", large)
    assert store.about(f"{store.base}/work/large")["ETag"].endswith('-3"')
    assert b"".join(store.pieces(f"{store.base}/work/large")) == large.read_bytes()
    for key in ("work/left", "elsewhere/left"):
        store.filesystem.call_s3("create_multipart_upload", Bucket=store.base, Key=key)
    found = store.uploads(f"{store.base}/work", older_than=timedelta(0))
    assert [upload.key for upload in found] == ["work/left"]
    store.abort(f"{store.base}/work", found)
    assert store.uploads(f"{store.base}/work", older_than=timedelta(0)) == []
    assert len(store.uploads(f"{store.base}/elsewhere", older_than=timedelta(0))) == 1


def test_an_upload_that_is_always_torn_leaves_nothing_and_says_so(bucket, proxy):
    def fault(request, number):
        if request.method == "PUT":
            request.body = request.body[: len(request.body) // 2]

    proxy.fault = fault
    with pytest.raises(OSError, match="not what was sent"):
        Files(f"{bucket}/work").write_bytes("p/u.bin", os.urandom(5000))
    proxy.fault = None
    assert Files(f"{bucket}/work").names("p") == []


def test_a_store_that_is_not_there_is_told_without_a_traceback(bucket, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(pipeline.object_store, "_RETRIES", {"mode": "standard", "max_attempts": 1})
    forget()
    with pytest.raises(OSError, match="work/x"):
        Files(f"{bucket}/work").read("x")


def test_training_reads_shards_from_the_store_as_from_a_disk_and_names_one_that_is_missing(bucket, tmp_path):
    here = counting_shards(tmp_path / "shards", [5, 30, 0, 44, 9, 60, 13])
    upload(tmp_path / "shards", f"{bucket}/shards")
    there = ShardSet.from_folder(f"{bucket}/shards")
    there.verify()
    assert there.fingerprint == here.fingerprint
    chosen = {"sequence_length": 7, "batch_sequences": 4, "seed": 3, "window_row_groups": 2}
    local, remote = Loader(here, **chosen), Loader(there, **chosen)
    for _ in range(5):
        assert np.array_equal(remote.next_batch()[0], local.next_batch()[0])
    resumed = Loader(ShardSet.from_folder(f"{bucket}/shards"), **chosen)
    resumed.restore(remote.state())
    assert np.array_equal(resumed.next_batch()[1], local.next_batch()[1])
    fsspec.filesystem("s3").rm(f"{bucket}/shards/0.parquet")
    with pytest.raises(ShardError, match="1 of 2 shards are missing, the first is number 0"):
        ShardSet.from_folder(f"{bucket}/shards")
