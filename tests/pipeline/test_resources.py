"""Models and lists are found, identified and loaded, and say what is wrong with them."""

import gzip
from pathlib import Path

import pytest

from pipeline.resources import ResourceError, identify_all, load_resources
from stages.language import STAGE as LANGUAGE
from stages.url_filter import STAGE as URL_FILTER


def test_the_second_identifier_is_loaded_from_its_package() -> None:
    needed = LANGUAGE.resources(LANGUAGE.settings(second="py3langid"))
    loaded = load_resources(needed, expected=identify_all(needed))
    language, probability = loaded["second"].classify("Der Ausschuss trifft sich nächste Woche wieder.")
    assert (language, 0.5 < probability <= 1) == ("de", True)


def test_a_list_is_read_plain_and_compressed(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"blocked.com\nb\xff.com\n\n# no\n")
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(b"blocked.com\nb\xff.com\n"))
    lists = []
    for name in ("a.txt", "a.txt.gz"):
        needed = URL_FILTER.resources(URL_FILTER.settings(blocklist=str(tmp_path / name)))
        lists.append(load_resources(needed, expected=identify_all(needed))["blocklist"].tolist())
    assert lists[0] == lists[1]
    assert len(lists[0]) == 2


def test_a_list_that_is_cut_in_half_is_refused(tmp_path: Path) -> None:
    whole = gzip.compress("\n".join(f"{number}.com" for number in range(10_000)).encode())
    (tmp_path / "cut.gz").write_bytes(whole[: len(whole) // 2])
    needed = URL_FILTER.resources(URL_FILTER.settings(blocklist=str(tmp_path / "cut.gz")))
    with pytest.raises(ResourceError, match=r"cut\.gz: damaged"):
        load_resources(needed, expected=identify_all(needed))


def test_another_file_than_expected_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("blocked.com")
    needed = URL_FILTER.resources(URL_FILTER.settings(blocklist=str(tmp_path / "a.txt"), sha256="0" * 64))
    with pytest.raises(ResourceError, match="its sha256 is"):
        identify_all(needed)
