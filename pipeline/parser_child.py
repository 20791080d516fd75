"""Parsers run in a child process, so that a page that makes one hang, crash or eat memory costs one row.

A signal handler cannot interrupt C code and a thread cannot be killed, so each worker keeps one child. For every
document the child arms two limits of the kernel: a timer on its own CPU time whose signal ends it (CPU time and not
the clock, so that the machine's load does not decide which documents are stopped), and a ceiling on its address space.
The clock is only the backstop. A child that died is replaced, and its death is the document's row.

Parent and child speak over two pipes in frames of two lengths, a JSON header and raw bytes: nothing that could run
code when it is read (no pickle), whichever side a parser has taken over.

    request    header: task, media_type, charset, url, cpu_seconds; settings when they change  body: the document
    response   header: every other field of Extracted, and memory figures                     body: its text
"""

import gc
import json
import os
import resource
import select
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Final, Self

from pipeline.models import builtin_path, load_fasttext, load_judge
from pipeline.orphans import end_with
from stages.extract import Extracted, ExtractSettings, Languages, RawRecord, extract_one, glance_one, load_engines

#: Reasons that may depend on time, memory or documents before, not on the document alone (a crash may be an allocation
#: that failed): the caller tries such documents again, alone, at the end, with `budget_factor=RETRY_FACTOR`, and counts
#: what is stopped even then.
STOPPED: Final = frozenset({"timeout", "memory", "crash"})
#: No load of the machine makes a parser use ten times the CPU time.
RETRY_FACTOR: Final = 10.0

#: Documents after which a child is replaced: parsers' heaps fragment and grow over very many documents (NeMo Curator
#: #1533). A start costs about 1 s, so this adds 0.1 ms a document.
RECYCLE_DOCUMENTS: Final = 10_000
#: Resident memory above that at the start at which a child is replaced.
RECYCLE_GROWTH_BYTES: Final = 200_000_000
#: Documents after which trafilatura's and its helpers' caches are emptied; they fill with the words of the pages.
CACHE_DOCUMENTS: Final = 1_000
#: Clock time for a child to import the parsers: 50 times what it takes.
START_SECONDS: Final = 60.0
#: Clock time for a child to compile the scan of pages and the engine tamis, once on a machine: 20 times what it takes.
COMPILE_SECONDS: Final = 600.0
_WARM_UP: Final = RawRecord(content=b"<title>t</title><p>One page.</p>", media_type="text/html")
#: The model that a cascade's gate asks: the one that the language stage uses unless told otherwise.
GATE_MODEL: Final = "builtin/lid.176"
#: With twenty labels the last has a probability of at most 0.05: what is not among them is below any useful gate.
_GATE_LABELS: Final = 20
#: The gate reads the beginning of the visible text: languages that a page keeps show there, and long pages cost more.
_GATE_CHARACTERS: Final = 20_000
#: What a child does with a document.
_TASKS: Final = {"extract": extract_one, "glance": glance_one}
_LENGTHS: Final = struct.Struct("<IQ")
_CHUNK_BYTES: Final = 1 << 20
_PAGE_BYTES: Final = resource.getpagesize()
_RESULT_FIELDS: Final = tuple(field.name for field in fields(Extracted) if field.name != "text")


class _ChildDiedError(Exception):
    """The child is gone; `code` is its exit code, or minus the signal that ended it."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class _ClockError(Exception):
    """The clock ran out on the child, and it was killed."""


@dataclass(kw_only=True)
class _Running:
    """One living child and what the parent remembers of it."""

    process: subprocess.Popen[bytes]
    send_fd: int
    receive_fd: int
    base_bytes: int
    documents: int = 0
    settings: ExtractSettings | None = None


class ParserChild:
    """Extraction in a process of its own, replaced whenever it dies. One call at a time; a context manager.

    `call` never raises on any document. It raises RuntimeError if a child cannot be started at all.
    """

    def __init__(
        self, *, recycle_documents: int = RECYCLE_DOCUMENTS, recycle_growth_bytes: int = RECYCLE_GROWTH_BYTES
    ) -> None:
        self._recycle_documents = recycle_documents
        self._recycle_growth_bytes = recycle_growth_bytes
        self._child: _Running | None = None
        #: Children started so far.
        self.started = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def pid(self) -> int | None:
        """Process id of the living child; None before the first call and after one that ended it."""
        return self._child.process.pid if self._child else None

    def call(self, record: RawRecord, settings: ExtractSettings, *, budget_factor: float = 1.0) -> Extracted:
        """What `extract_one` returns, or a row with timeout, memory or crash if the parser did not live to return.

        `budget_factor` multiplies CPU and clock time. Any other than 1 also takes a new child, so that no document
        before has left anything behind; memory is not multiplied, since the machine has no more of it.
        """
        return self._asked("extract", record, settings, budget_factor)

    def glance(self, record: RawRecord, settings: ExtractSettings, *, budget_factor: float = 1.0) -> Extracted:
        """What `glance_one` returns, under the limits of `call`."""
        return self._asked("glance", record, settings, budget_factor)

    def _asked(self, task: str, record: RawRecord, settings: ExtractSettings, budget_factor: float) -> Extracted:
        if budget_factor != 1.0:
            self.close()
        cpu_seconds = settings.cpu_seconds * budget_factor
        for last_try in (False, True):
            child = self._child or self._start()
            try:
                deadline = time.monotonic() + settings.wall_seconds * budget_factor
                result = self._exchange(child, task, record, settings, cpu_seconds, deadline)
            except _ClockError:
                return _stopped("timeout", settings.wall_seconds * budget_factor, "clock seconds")
            except _ChildDiedError as death:
                # Somebody else's kill -9 says nothing about the document; the kernel's, out of memory, comes back.
                if death.code == -signal.SIGKILL and not last_try:
                    continue
                return _row_for(death, settings, cpu_seconds)
            self._recycle(child, result.reason)
            return result
        raise AssertionError("the second try returns")

    def close(self) -> None:
        """End the child, if there is one. A later call starts another."""
        if self._child is not None:
            self._end(self._child)

    def _recycle(self, child: _Running, reason: str | None) -> None:
        child.documents += 1
        grown = _resident_bytes(child.process.pid) - child.base_bytes if child.documents % 16 == 0 else 0
        # An allocation that failed in one parser may have left another of its structures half built.
        if reason == "memory" or child.documents >= self._recycle_documents or grown > self._recycle_growth_bytes:
            self._end(child)

    def _start(self) -> _Running:
        # -P: the working directory must not come before the real packages. The parser gets no more of the environment
        # than it needs to run, so no credential either.
        roots = [str(Path(__file__).resolve().parents[1]), *(path for path in sys.path if path)]
        environment = {
            "PYTHONPATH": os.pathsep.join(dict.fromkeys(roots)),
            "PYTHONHASHSEED": "0",  # The same order of sets in parsers, so the same text, in every child.
            "PYTHONUTF8": "1",
            "MALLOC_ARENA_MAX": "1",  # One arena: address space then follows what is in use.
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
        }
        # An interpreter may not start without the first; the others say where compiled kernels lie.
        for name in ("LD_LIBRARY_PATH", "NUMBA_CACHE_DIR", "NUMBA_CACHE_LOCATOR_CLASSES"):
            if name in os.environ:
                environment[name] = os.environ[name]
        process = subprocess.Popen(  # noqa: S603 - our own interpreter on our own module
            [sys.executable, "-P", "-m", "pipeline.parser_child", str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        os.set_blocking(process.stdin.fileno(), False)
        child = _Running(
            process=process, send_fd=process.stdin.fileno(), receive_fd=process.stdout.fileno(), base_bytes=0
        )
        self._child = child
        self.started += 1
        try:
            self._receive(child, time.monotonic() + START_SECONDS)
        except (_ChildDiedError, _ClockError) as error:
            # Its pipe is still open here, and nothing writes to it any more.
            told = process.stderr.read().decode("utf-8", "replace")[-2000:]
            process.stderr.close()
            late = f"no answer within {START_SECONDS:.0f} s: is the machine busy with other things?"
            why = late if isinstance(error, _ClockError) else repr(error)
            raise RuntimeError(f"the parser child does not start: {why}\n{told}") from error
        process.stderr.close()
        return child

    def _exchange(
        self,
        child: _Running,
        task: str,
        record: RawRecord,
        settings: ExtractSettings,
        cpu_seconds: float,
        deadline: float,
    ) -> Extracted:
        if child.settings != settings:
            # Importing the parsers is no document's cost: it has an exchange of its own, without limits.
            setup = _frame({"settings": settings.model_dump(mode="json")}, b"")
            try:
                self._send(child, setup, time.monotonic() + COMPILE_SECONDS)
                header, _ = self._receive(child, time.monotonic() + COMPILE_SECONDS)
            except (_ChildDiedError, _ClockError) as error:
                # No document has been seen yet: what is wrong is the installation, and no row may hide that.
                raise RuntimeError(
                    f"the parser child cannot load engine {settings.engine!r} and {settings.pdf_engine!r} ({error!r}): "
                    "import stages.extract_html and stages.extract_pdf in Python to see why"
                ) from error
            child.settings, child.base_bytes = settings, header["resident_bytes"]
        header = {
            "task": task,
            "media_type": record.media_type,
            "charset": record.charset,
            "url": record.url,
            "cpu_seconds": cpu_seconds,
        }
        self._send(child, _frame(header, record.content), deadline)
        header, body = self._receive(child, deadline)
        return Extracted(text=body.decode("utf-8"), **header)

    def _send(self, child: _Running, frame: bytes, deadline: float) -> None:
        view = memoryview(frame)
        while view:
            try:
                view = view[os.write(child.send_fd, view) :]
            except BlockingIOError:
                if not select.select([], [child.send_fd], [], max(0.0, deadline - time.monotonic()))[1]:
                    self._kill_late(child)
            except BrokenPipeError:
                raise self._death(child) from None

    def _receive(self, child: _Running, deadline: float) -> tuple[dict[str, Any], bytes]:
        head_bytes, body_bytes = _LENGTHS.unpack(self._read(child, _LENGTHS.size, deadline))
        header = json.loads(self._read(child, head_bytes, deadline))
        return header, self._read(child, body_bytes, deadline)

    def _read(self, child: _Running, size: int, deadline: float) -> bytes:
        data = bytearray()
        while len(data) < size:
            if not select.select([child.receive_fd], [], [], max(0.0, deadline - time.monotonic()))[0]:
                self._kill_late(child)
            piece = os.read(child.receive_fd, min(size - len(data), _CHUNK_BYTES))
            if not piece:
                raise self._death(child)
            data += piece
        return bytes(data)

    def _kill_late(self, child: _Running) -> None:
        self._end(child)
        raise _ClockError

    def _death(self, child: _Running) -> _ChildDiedError:
        code = child.process.wait()
        self._forget(child)
        return _ChildDiedError(code)

    def _end(self, child: _Running) -> None:
        child.process.kill()
        child.process.wait()
        self._forget(child)

    def _forget(self, child: _Running) -> None:
        for pipe in (child.process.stdin, child.process.stdout):
            if pipe is not None:
                pipe.close()
        self._child = None


def _row_for(death: _ChildDiedError, settings: ExtractSettings, cpu_seconds: float) -> Extracted:
    """The row for a document on which the child died. It tells limits, nothing measured: it is repeatable."""
    if death.code in (-signal.SIGPROF, -signal.SIGXCPU):
        return _stopped("timeout", cpu_seconds, "CPU seconds")
    # abort() is how PDFium and C++ end when an allocation fails. A failed assertion looks the same: how much memory a
    # dead process had cannot be known for sure, and a rule by the signal alone gives the same row every time.
    if death.code in (-signal.SIGKILL, -signal.SIGABRT):
        return _stopped("memory", float(settings.memory_bytes), "bytes of memory")
    name = signal.Signals(-death.code).name if death.code < 0 else f"exit code {death.code}"
    return Extracted(reason="crash", detail=f"the parser ended with {name}")


def _stopped(reason: str, limit: float, unit: str) -> Extracted:
    return Extracted(reason=reason, threshold=limit, detail=f"stopped at {limit:.15g} {unit}")


def _frame(header: dict[str, Any], body: bytes) -> bytes:
    head = json.dumps(header).encode()
    return _LENGTHS.pack(len(head), len(body)) + head + body


def _resident_bytes(pid: int | str) -> int:
    """Resident memory of a process; 0 where there is no /proc."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_bytes().split()[1]) * _PAGE_BYTES
    except FileNotFoundError:
        return 0


# ---- the child's side ------------------------------------------------------------------------------------------------


def main(parent: int) -> None:
    """Serve documents until the pipe closes. Never returns to a parent that has died."""
    requests = os.fdopen(os.dup(0), "rb")
    responses = os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_RDWR)
    # What a parser prints must not get between the frames, and what it reads must not be them.
    os.dup2(nowhere, 0)
    os.dup2(nowhere, 1)
    _confine(parent)
    responses.write(_frame({}, b""))
    responses.flush()
    os.dup2(nowhere, 2)
    _serve(requests, responses)


def _confine(parent: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then ends the child.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Even in the middle of a document; the pipe's end does it between documents. If it is the parent's thread that
    # ends, the parent starts another child.
    end_with(parent)
    if sys.platform == "linux":
        # If the machine runs out of memory, this process goes first.
        Path("/proc/self/oom_score_adj").write_text("1000")


def _serve(requests: BinaryIO, responses: BinaryIO) -> None:
    settings, languages, judge = ExtractSettings(), None, None
    documents = 0
    while head := requests.read(_LENGTHS.size):
        head_bytes, body_bytes = _LENGTHS.unpack(head)
        request = json.loads(requests.read(head_bytes))
        content = requests.read(body_bytes)
        if "settings" in request:
            settings = ExtractSettings(**request["settings"])
            load_engines(settings)
            languages = language_model(settings)
            judge = load_judge() if settings.engine == "tamis" else None
            # On a machine that has never run it, the engine is compiled now and not at the cost of a document.
            if settings.engine == "tamis":
                extract_one(_WARM_UP, settings, judge=judge)
            # Parsers write no files; what their import wrote (compiled modules) is written by now.
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
            gc.freeze()
            answer = _frame({"resident_bytes": _resident_bytes("self")}, b"")
        else:
            cpu_seconds = request.pop("cpu_seconds")
            # Only the engine tamis has a judge, and nobody glances for it.
            given = {"languages": languages} if judge is None else {"judge": judge}
            work = _TASKS[request.pop("task")]
            answer = _limited(
                partial(work, RawRecord(content=content, **request), settings, **given),
                cpu_seconds,
                settings.memory_bytes,
            )
            documents += 1
        responses.write(answer)
        responses.flush()
        if documents % CACHE_DOCUMENTS == CACHE_DOCUMENTS - 1:
            _empty_caches()


def language_model(settings: ExtractSettings) -> Languages | None:
    """What a cascade's gate asks for languages; None for engines that do not."""
    if settings.engine != "cascade" or not settings.gate_languages:
        return None
    model = load_fasttext(builtin_path(GATE_MODEL))

    def languages(line: str) -> dict[str, float]:
        labels, scores = model.predict(line[:_GATE_CHARACTERS], k=_GATE_LABELS)
        return {label.removeprefix("__label__"): float(score) for label, score in zip(labels, scores, strict=True)}

    return languages


def _limited(work: Callable[[], Extracted], cpu_seconds: float, memory_bytes: int) -> bytes:
    """The response to one document, made under its limits of CPU time and memory."""
    if sys.platform == "linux":
        mapped = int(Path("/proc/self/statm").read_bytes().split()[0]) * _PAGE_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (mapped + memory_bytes, resource.RLIM_INFINITY))
    # SIGPROF's default action ends the process, in C code as well; to the microsecond, where RLIMIT_CPU counts seconds.
    signal.setitimer(signal.ITIMER_PROF, cpu_seconds)
    try:
        result = work()
        return _frame({name: getattr(result, name) for name in _RESULT_FIELDS}, result.text.encode())
    except MemoryError:
        result = _stopped("memory", float(memory_bytes), "bytes of memory")
        return _frame({name: getattr(result, name) for name in _RESULT_FIELDS}, b"")
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        if sys.platform == "linux":
            resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def _empty_caches() -> None:
    meta = sys.modules.get("trafilatura.meta")
    if meta is not None:
        meta.reset_caches()
    gc.collect()


if __name__ == "__main__":
    main(int(sys.argv[1]))
