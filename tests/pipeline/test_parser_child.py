import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pdfs import flate_bomb, form_fan_out, form_recursion, hello, text_operators

from pipeline.parser_child import STOPPED, ParserChild
from stages.extract import Extracted, ExtractSettings, RawRecord, extract_one

DATA = Path(__file__).parents[3] / "shared" / "data"
SENTENCE = "The quick brown fox jumps over the lazy dog near the river bank on every sunny day of the year."
PAGE = RawRecord(
    content=f"<html><title>Fox</title><body><p>{SENTENCE}</p></body></html>".encode(), media_type="text/html"
)
SMALL = ExtractSettings(engine="resiliparse", cpu_seconds=0.5, wall_seconds=30)


@pytest.fixture(scope="module")
def child() -> Iterator[ParserChild]:
    with ParserChild() as running:
        yield running


def html(content: str | bytes) -> RawRecord:
    return RawRecord(content=content if isinstance(content, bytes) else content.encode(), media_type="text/html")


def pdf(content: bytes) -> RawRecord:
    return RawRecord(content=content, media_type="application/pdf")


def assert_next_is_fine(child: ParserChild, settings: ExtractSettings = SMALL) -> None:
    assert child.call(PAGE, settings) == extract_one(PAGE, settings)


def wait_until_gone(pid: int) -> bool:
    for _ in range(100):
        stat = Path(f"/proc/{pid}/stat")
        if not stat.exists() or stat.read_text().rsplit(")", 1)[1].split()[0] == "Z":
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize("engine", ["trafilatura", "resiliparse"])
def test_the_child_returns_what_extraction_in_this_process_returns(child: ParserChild, engine: str) -> None:
    settings = ExtractSettings(engine=engine)  # type: ignore[arg-type]
    for record in (
        PAGE,
        pdf(hello()),
        RawRecord(
            content="Grüße 😀".encode(), media_type="text/plain", charset="utf-8", url="https://example.org/\ud800"
        ),
        RawRecord(content=b""),
        html("<p " + "a=1 " * 6000 + ">x"),
        html(b"<p>" + b"word " * 500_000),
    ):
        assert child.call(record, settings) == extract_one(record, settings)


def test_one_child_serves_many_documents(child: ParserChild) -> None:
    child.call(PAGE, SMALL)
    before = child.started, child.pid
    for _ in range(50):
        child.call(PAGE, SMALL)
    assert (child.started, child.pid) == before


@pytest.mark.parametrize(
    "record",
    [
        pytest.param(html("<p>" + "word<br>" * 1_500_000), id="1,500,000 br"),
        pytest.param(html("<p>some text</p>" * 600_000), id="600,000 p"),
        pytest.param(pdf(form_fan_out(9)), id="1e9 drawings"),
        pytest.param(pdf(form_recursion()), id="a form that draws itself"),
        pytest.param(pdf(text_operators(3_000_000)), id="3,000,000 text operators"),
        pytest.param(pdf(flate_bomb(400_000_000)), id="400 MB of spaces"),
    ],
)
def test_hostile_documents_are_stopped_and_the_next_is_fine(child: ParserChild, record: RawRecord) -> None:
    settings = SMALL.model_copy(update={"memory_bytes": 300_000_000})
    started = time.monotonic()
    found = child.call(record, settings)
    assert found.reason in STOPPED | {"no_text"}, found
    assert found.text == ""
    assert time.monotonic() - started < 25
    assert_next_is_fine(child, settings)


def test_cpu_time_stops_a_parser_and_the_row_says_at_what(child: ParserChild) -> None:
    found = child.call(pdf(form_fan_out(9)), SMALL)
    assert found == Extracted(reason="timeout", threshold=0.5, detail="stopped at 0.5 CPU seconds")


def test_the_retry_has_a_multiple_of_the_time_and_a_new_child(child: ParserChild) -> None:
    slow = html("<p>some text</p>" * 15_000)
    settings = ExtractSettings(engine="trafilatura", cpu_seconds=0.1, wall_seconds=30)
    assert child.call(slow, settings).reason == "timeout"
    child.call(PAGE, settings)
    before = child.pid
    assert child.call(slow, settings, budget_factor=100).reason is None
    assert child.pid != before


def test_the_clock_is_the_backstop(child: ParserChild) -> None:
    settings = SMALL.model_copy(update={"wall_seconds": 0.3})
    for _ in range(20):
        # On a busy machine the limit may end this call too, and the child with it.
        child.call(PAGE, settings)
        if child.pid is not None:
            break
    assert child.pid is not None
    os.kill(child.pid, signal.SIGSTOP)  # A stopped process uses no CPU time at all.
    found = child.call(PAGE, settings)
    assert found == Extracted(reason="timeout", threshold=0.3, detail="stopped at 0.3 clock seconds")
    assert_next_is_fine(child)


@pytest.mark.parametrize("engine", ["trafilatura", "resiliparse"])
@pytest.mark.parametrize("piece", ["<p>some text</p>", "word<br>"])
def test_memory_is_bounded(child: ParserChild, engine: str, piece: str) -> None:
    settings = SMALL.model_copy(update={"memory_bytes": 30_000_000, "cpu_seconds": 20.0, "engine": engine})
    found = child.call(html("<p>" + piece * 200_000), settings)
    assert found == Extracted(reason="memory", threshold=30e6, detail="stopped at 30000000 bytes of memory")
    assert_next_is_fine(child, settings)


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGILL, signal.SIGBUS])
def test_a_crash_is_that_documents_row_only(child: ParserChild, number: signal.Signals) -> None:
    child.call(PAGE, SMALL)
    assert child.pid is not None
    os.kill(child.pid, number)
    found = child.call(PAGE, SMALL)
    assert found == Extracted(reason="crash", detail=f"the parser ended with {number.name}")
    assert_next_is_fine(child)


def test_a_parser_that_ends_itself_is_out_of_memory(child: ParserChild) -> None:
    child.call(PAGE, SMALL)
    assert child.pid is not None
    os.kill(child.pid, signal.SIGABRT)
    assert child.call(PAGE, SMALL).reason == "memory"
    assert_next_is_fine(child)


def test_a_killed_child_changes_nothing(child: ParserChild) -> None:
    child.call(PAGE, SMALL)
    before = child.started
    assert child.pid is not None
    os.kill(child.pid, signal.SIGKILL)
    assert_next_is_fine(child)
    assert child.started == before + 1


def test_a_child_is_replaced_after_its_number_of_documents() -> None:
    with ParserChild(recycle_documents=3) as child:
        for _ in range(7):
            assert child.call(PAGE, SMALL).reason is None
        assert child.started == 3


def test_a_child_that_has_grown_is_replaced() -> None:
    with ParserChild(recycle_growth_bytes=1) as child:
        for _ in range(17):
            child.call(PAGE, SMALL)
        assert child.started == 2


def test_closing_ends_the_child() -> None:
    child = ParserChild()
    child.call(PAGE, SMALL)
    pid = child.pid
    assert pid is not None
    child.close()
    assert child.pid is None
    assert not Path(f"/proc/{pid}").exists()
    child.close()


@pytest.mark.skipif(sys.platform != "linux", reason="the parent's death signal and /proc are Linux's")
def test_the_child_dies_with_its_parent_even_in_the_middle_of_a_document() -> None:
    code = f"""
import threading, time
from pipeline.parser_child import ParserChild
from stages.extract import ExtractSettings, RawRecord
settings = ExtractSettings(cpu_seconds=100, wall_seconds=1000)
child = ParserChild()
child.call(RawRecord(content=b"x"), settings)
print(child.pid, flush=True)
child.call(RawRecord(content={form_fan_out(12)!r}, media_type="application/pdf"), settings)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        time.sleep(0.3)
        assert Path(f"/proc/{pid}").exists()
        parent.kill()
    assert wait_until_gone(pid)


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_the_child_gets_no_credentials_and_goes_first_when_memory_runs_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary")
    with ParserChild() as child:
        child.call(PAGE, SMALL)
        assert b"canary" not in Path(f"/proc/{child.pid}/environ").read_bytes()
        assert Path(f"/proc/{child.pid}/oom_score_adj").read_text().strip() == "1000"


def test_a_stranger_in_the_working_directory_is_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("stages", "pipeline"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('the stranger')")
    monkeypatch.chdir(tmp_path)
    with ParserChild() as child:
        assert_next_is_fine(child)


def test_a_child_that_cannot_start_is_an_error_with_its_words(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho no such interpreter >&2\nexit 3\n")
    broken.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(broken))
    with ParserChild() as child, pytest.raises(RuntimeError, match="no such interpreter"):
        child.call(PAGE, SMALL)


def test_real_pdfs_give_text_or_a_reason(child: ParserChild) -> None:
    path = DATA / "pdf" / "format-corpus_pdf-handbuilt-test-corpus.tar.xz"
    if not path.exists():
        pytest.skip(f"the PDFs are not at {path}")
    seen = 0
    with tarfile.open(path) as archive:
        for member in archive:
            content = archive.extractfile(member) if member.name.endswith(".pdf") else None
            if content is not None:
                found = child.call(pdf(content.read()), SMALL)
                assert (found.reason is None) == bool(found.text), member.name
                seen += 1
    assert seen > 20
