"""Of documents from one address one survives; without an address all do."""

from pathlib import Path

from dedup_views import Corpus, ledger_rows, make_engine, verdicts

from pipeline.dedup.exact import exact_dedup
from stages.url_dedup import UrlDedupSettings

CORPUS = Corpus(
    ["first version", "second version, longer", "another page", "no address", "no address", "not one", "not one"],
    urls=[
        "http://a.test/p?utm_source=x",
        "https://A.test/p#top",
        "http://a.test/q",
        None,
        None,
        "mailto:a",
        "mailto:a",
    ],
    dates=["2026-01-01", "2026-01-02", None, None, None, None, None],
)


def test_one_document_an_address(tmp_path: Path) -> None:
    engine = make_engine(tmp_path)
    view = CORPUS.view(engine, splits=3)
    longest = exact_dedup(engine, view, UrlDedupSettings(), upstream="test")
    first, second = (row["id"] for row in CORPUS.rows[:2])
    assert verdicts(engine, view, longest) == {first: (second, 1.0)}
    (row,) = ledger_rows(engine, view, longest)
    assert (row["stage"], row["reason"]) == ("url_dedup", "same_url")
    earliest = exact_dedup(engine, view, UrlDedupSettings(survivor=("earliest",)), upstream="test")
    assert verdicts(engine, view, earliest) == {second: (first, 1.0)}
