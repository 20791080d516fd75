"""Texts that no page should hold: the rule stages measure them, judge them, and leave their neighbours alone."""

import pyarrow as pa
import pytest
from rule_cases import measure, verdicts
from test_contract import HOSTILE, PROSE

import stages
from stages.stage import Stage

RULES = (
    *("gopher_quality", "gopher_repetition", "dclm_quality", "dclm_repetition"),
    *("c4_quality", "refinedweb_lines", "fineweb_quality", "pii"),
)


def rule(name: str) -> Stage:
    stage = stages.CATALOGUE[name]
    assert isinstance(stage, Stage)
    return stage


@pytest.mark.parametrize("name", RULES)
def test_every_bad_text_of_one_batch_is_one_row(name):
    """No batch is lost: the rows stand in their order, and prose is measured as if it stood alone."""
    texts = ["", PROSE, *HOSTILE.values(), PROSE]
    rows = measure(rule(name), texts)
    assert len(rows) == len(texts)
    assert rows[1] == rows[-1] == measure(rule(name), [PROSE])[0]
    found = verdicts(rule(name), texts)
    assert len(found) == len(texts)


def test_lone_surrogates_never_reach_a_stage():
    """They are no Unicode text: Arrow refuses them, and extraction has replaced them before."""
    with pytest.raises(UnicodeEncodeError):
        pa.array(["a\ud800b"], pa.large_string())


@pytest.mark.parametrize(("case", "reason"), [("emoji", "word_count"), ("identical lines", "word_count")])
def test_what_says_nothing_is_dropped(case, reason):
    assert verdicts(rule("gopher_quality"), [HOSTILE[case]])[0]["reason"] == reason
    assert verdicts(rule("gopher_repetition"), [HOSTILE["identical lines"]])[0]["reason"] == "duplicate_lines"


@pytest.mark.slow
@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("word", ["x", "word "], ids=["no space", "words"])
def test_a_line_of_fifty_megabytes(name, word):
    line = word * (50_000_000 // len(word))
    rows = measure(rule(name), [PROSE, line, PROSE])
    assert rows[0] == rows[2]
    assert len(verdicts(rule(name), [line])) == 1
