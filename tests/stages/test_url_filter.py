"""Addresses are blocked by domain, host, path and word; what is in a list means itself."""

import gzip
import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from rule_cases import PEER_CASES

from stages.url_filter import STAGE, build_list, split


def measured(urls: list[str | None], entries: list[str], **settings: Any) -> list[dict[str, Any]]:
    docs = pa.table({"url": pa.array(urls, pa.string())})
    return STAGE.measure(docs, STAGE.settings(**settings), {"blocklist": build_list(entries)}).to_pylist()


def how(url: str | None, *entries: str, **settings: Any) -> str | None:
    return measured([url], list(entries), **settings)[0]["url_blocked"]


@pytest.mark.parametrize(
    "url",
    [
        "https://blocked.com/a?b=c", "http://www.blocked.com", "https://a.b.blocked.com:8080/x", "HTTPS://BLOCKED.COM./",
        "//blocked.com/", "ftp://joe:pw@blocked.com/f", "blocked.com/page", "http://joe@x@blocked.com/",
    ],
)  # fmt: skip
def test_a_registered_domain_blocks_its_hosts(url: str) -> None:
    assert how(url, "blocked.com") == "domain"


@pytest.mark.parametrize(
    "url",
    ["https://unblocked.com/", "https://blocked.com.evil.org/", "https://x.org/blocked.com", "https://x.org/?u=//blocked.com",
     "https://blocked.co/", "", None, "mailto:joe", "not an address", "http://", "https://[::1/", "http://\ud83d\ude00.com"],
)  # fmt: skip
def test_others_pass(url: str | None) -> None:
    if url is not None:
        url = url.encode("utf-16", "surrogatepass").decode("utf-16")
    assert how(url, "blocked.com") is None


def test_public_suffixes_are_no_domains() -> None:
    assert how("https://joe.blogspot.com/", "blogspot.com") is None
    assert how("https://blogspot.com/", "blogspot.com") == "host"
    assert how("https://x.joe.blogspot.com/", "joe.blogspot.com") == "domain"
    assert how("https://shop.co.uk/", "co.uk") is None
    assert how("https://a.shop.co.uk/", "shop.co.uk") == "domain"


def test_a_host_below_a_domain_blocks_itself_alone() -> None:
    assert how("https://bad.nice.com/x", "bad.nice.com") == "host"
    assert how("https://nice.com/x", "bad.nice.com") is None
    assert how("https://sub.bad.nice.com/x", "bad.nice.com") is None


def test_paths_block_what_lies_below_them() -> None:
    entry = "http://www.nice.com/adult/"
    assert how("https://nice.com/adult", entry) == "path"
    assert how("https://nice.com/Adult/page?x=1", entry) == "path"
    assert how("https://nice.com/adults", entry) is None
    assert how("https://a.nice.com/adult", entry) is None


def test_numbers_and_international_names() -> None:
    assert how("http://12.34.56.78/x", "12.34.56.78") == "domain"
    assert how("http://1.56.78/x", "56.78") is None
    assert how("http://bücher.example.de/", "xn--bcher-kva.example.de") == "host"
    assert how("http://[2001:db8::1]:80/", "[2001:db8::1]") == "domain"


def test_entries_are_literal() -> None:
    """dclm puts entries into a regular expression as they are: a full stop blocks any character there."""
    assert how("https://examplexcom.org/", "example.com") is None
    for entry in ("a.*", "(x", "[a-z]+.com", "x|y.com", "\\", "*", "+++"):
        assert how("https://nice.com/path", entry) is None
    assert how("https://nice.com/a.*b/c", "nice.com/a.*b") == "path"
    assert how("https://nice.com/a(b", "x.com", substrings=("a(b",)) == "substring"
    assert how("https://nice.com/aab", "x.com", substrings=("a+b", "a.b")) is None


def test_words_stand_between_borders_and_strings_do_not() -> None:
    assert how("https://my-casino.com/x", words=("Casino",)) == "word"
    assert how("https://casinos.com/x", words=("casino",)) is None
    assert how("https://casinos.com/x", substrings=("casino",)) == "substring"
    rows = measured(["https://poker-bonus.com/", "https://poker.com/poker"], [], soft_words=("poker", "bonus"))
    assert [row["url_soft_words"] for row in rows] == [2, 1]


def test_judges_and_names_the_entry() -> None:
    urls = [
        "https://a.blocked.com/",
        "https://b.nice.com/",
        "https://nice.com/x/y",
        "https://q.com/porn",
        "https://s1.com/s2",
        "https://ok.com",
    ]
    settings = STAGE.settings(words=("porn",), soft_words=("s1", "s2"))
    table = STAGE.measure(
        pa.table({"url": urls}), settings, {"blocklist": build_list(["blocked.com", "b.nice.com", "nice.com/x"])}
    )
    found = STAGE.judge(table.select(STAGE.judges), settings).to_pylist()
    assert [row["reason"] for row in found] == ["url_domain", "url_host", "url_path", "url_word", "url_word", None]
    assert [row["detail"] for row in found] == ["blocked.com", "b.nice.com", "nice.com/x", "porn", "soft words", None]
    assert (found[4]["measured"], found[4]["threshold"]) == (2.0, 1.0)


def test_agrees_with_datatrove() -> None:
    path = PEER_CASES / "datatrove_url_filter.json"
    if not path.is_file():
        pytest.skip(f"{path.name} of the data pack is not there")
    recorded = json.loads(path.read_text())
    names = {"domain": "domain", "host": "subdomain", None: None}
    for case in recorded["cases"]:
        found = how(case["url"], *recorded["blocked_domains"])
        assert (found is None, names[found]) == (case["expected"]["keep"], case["expected"]["reason"]), case


def test_a_real_list_blocks_its_own_entries() -> None:
    path = PEER_CASES.parent / "toxicity" / "url_blocklist" / "ut1_domains_sample.txt.gz"
    if not path.is_file():
        pytest.skip(f"{path.name} of the data pack is not there")
    entries = gzip.decompress(path.read_bytes()).decode().split("\n")[:2000]
    rows = measured([f"http://{entry}/" for entry in entries if entry], entries)
    assert all(row["url_blocked"] for row in rows)


def test_a_list_has_no_order_no_comments_and_may_be_empty() -> None:
    lines = ["b.com\n", "# a comment\n", "\n", "a.com # why\n", "b.com\r\n"]
    assert np.array_equal(build_list(lines), build_list(["a.com", "b.com"]))
    assert len(build_list([])) == 0
    assert how("https://a.com") is None


@pytest.mark.parametrize(
    "url", ["http://" + "a." * 500_000, "/" * 1_000_000, "http://x.com/" + "a/" * 500_000, "@" * 1_000_000]
)
def test_long_addresses_are_cut(url: str) -> None:
    assert how(url, "blocked.com") is None
    assert len(split(url)) == 2
