"""Which addresses are one address."""

import pytest

from stages.url_dedup import UrlDedupSettings, canonical_url

IGNORED = UrlDedupSettings().ignore_parameters


@pytest.mark.parametrize(
    ("url", "canonical"),
    [
        ("https://Example.ORG", "example.org/"),
        ("http://example.org.:80/", "example.org/"),
        ("https://example.org:443", "example.org/"),
        ("http://example.org:443/", "example.org:443/"),
        ("http://user:secret@example.org/a", "example.org/a"),
        ("http://example.org/a/./b/../c/", "example.org/a/c/"),
        ("http://example.org/../..", "example.org/"),
        ("http://example.org/%7euser/%c3%bc%2f", "example.org/~user/%C3%BC%2F"),
        ("http://example.org/ü b", "example.org/%C3%BC%20b"),
        ("http://example.org/?b=2&a=1&b=1", "example.org/?a=1&b=2&b=1"),
        ("http://example.org/?", "example.org/"),
        ("http://example.org/p?utm_source=x&id=7&FBCLID=y", "example.org/p?id=7"),
        ("http://example.org/p?flag&x=a%3Db=c", "example.org/p?flag&x=a%3Db=c"),
        ("http://example.org/p#part", "example.org/p"),
        ("http://example.org/p#!/page/2", "example.org/p#!/page/2"),
        ("http://example.org/100%", "example.org/100%"),
    ],
)
def test_canonical_form(url, canonical):
    assert canonical_url(url, IGNORED) == canonical
    again = canonical_url(f"https://{canonical}", IGNORED)
    assert again == canonical or ":443" in canonical, "the canonical form is its own"


@pytest.mark.parametrize(
    "url", ["", "example.org/a", "ftp://example.org/", "http://", "http://[::1", "http://a:b/", "\x00"]
)
def test_what_is_no_address_has_none(url):
    assert canonical_url(url, IGNORED) is None


def test_paths_differ_by_case_and_by_their_last_slash():
    found = {canonical_url(f"http://example.org/{path}", IGNORED) for path in ("a", "A", "a/", "a//", "a?x=1")}
    assert len(found) == 5
