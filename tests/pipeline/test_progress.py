"""What a run shows while it works: on a terminal bars, elsewhere lines, both with a rate that counts this call only."""

import io

import pytest
from rich.console import Console

from pipeline import progress
from pipeline.parts import Commit
from pipeline.progress import Terminal


def commit(documents: int) -> Commit:
    counts = {"documents": documents, "rejected": {"no_text": 2}}
    return Commit(phase="extract-0123456789abcdef", unit="u", files={}, counts=counts, observed={})


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


def test_lines_tell_rate_and_time_left_of_what_is_done_now(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    shown = Terminal(stream=Console(file=io.StringIO(), force_terminal=False))
    with shown:
        shown.begin("extract-0123456789abcdef", total=100, done=90)
        clock.now += 20
        shown.advance("extract-0123456789abcdef", commit(500))
    # One part of ten in 20 seconds: the ninety that were found done tell nothing of the nine that are left.
    assert capsys.readouterr().err == "extract: 91/100, 25 documents/s, 20 s, about 180 s left. no_text 2\n"


def test_bars_show_the_rate_too(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.StringIO()
    shown = Terminal(stream=Console(file=written, force_terminal=True, width=160))
    with shown:
        shown.begin("extract-0123456789abcdef", total=2, done=0)
        shown.advance("extract-0123456789abcdef", commit(500))
        shown.end("extract-0123456789abcdef")
    assert "documents/s" in written.getvalue()
    assert "no_text 2" in written.getvalue()
