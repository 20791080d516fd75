"""A run in a browser: every document is found by what one knows of it, and nothing of the crawl does anything."""

import contextlib
import html
import http.client
import json
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote, urlencode

import psutil
import pytest
from corpus import prose
from warcs import member, record

from pipeline.outputs import read_manifest
from pipeline.recipe import load_recipe
from pipeline.run import Options, run
from pipeline.takedown import remove

duckdb = pytest.importorskip("duckdb", reason="the extra `browse` is not installed")
uvicorn = pytest.importorskip("uvicorn", reason="the extra `browse` is not installed")

from headless import Tab, tab  # noqa: E402

from pipeline.browse.asked import Asked, read_asked  # noqa: E402
from pipeline.browse.command import listening  # noqa: E402
from pipeline.browse.server import application  # noqa: E402
from pipeline.browse.shelf import Shelf, TooSlowError  # noqa: E402

ROOT = Path(__file__).parents[3]
TOKEN = "a-token"
RECIPE = """\
name: browsed
input: {{paths: ["{place}/docs.warc.gz"]}}
stages:
  - {{type: extract}}
  - {{type: language, keep: [en], min_score: 0.5}}
  - {{type: gopher_quality, min_stop_words: 1}}
  - {{type: exact_dedup}}
  - {{type: near_dedup, threshold: 0.7}}
"""
SCRIPT = "<script>document.title='OWNED'</script><img src=x onerror=\"document.title='OWNED'\"> &amp; it's"
GERMAN = "Der Müller hat gestern die Brücke gemessen und danach lange mit dem alten Kapitän gesprochen. " * 5


def english(seed: int) -> str:
    return "\n\n".join(prose(seed))


TEXTS = {
    "plain": english(1) + "\n\nThe quokka remembered a percent sign: 100% and an_underscore.",
    "hostile": f"{english(2)}\n\n{SCRIPT}\n\n{english(3)}",
    "copy": english(1) + "\n\nThe quokka remembered a percent sign: 100% and an_underscore",
    "near": english(1) + "\n\nThe quokka remembered a percent sign: 99% and my_mark.",
    "spam": "The wombat has it for you, and it is for all that want it # # # # # # # # # #. " * 12,
    "german": GERMAN,
    f"odd-{SCRIPT}": english(4),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # A name that means something to a database and to a shell.
    folder = tmp_path_factory.mktemp("it's [a] run*")
    members = [
        member(record(text.encode(), kind="conversion", url=f"http://{name[:5]}.site.test/{name}"))
        for name, text in TEXTS.items()
    ]
    members.insert(2, b"\x1f\x8b\x08\x00damaged")
    (folder / "docs.warc.gz").write_bytes(b"".join(members))
    (folder / "r.yaml").write_text(RECIPE.format(place=str(folder).replace("[", "[[]").replace("*", "[*]")))
    run(load_recipe(folder / "r.yaml"), Options(out=str(folder / "out"), work=str(folder / "work"), runner="inline"))
    return folder


@contextlib.contextmanager
def serving(shelf: Shelf) -> Iterator[int]:
    """The port on which the run is served while the block lasts."""
    with listening() as listener:
        config = uvicorn.Config(application(shelf, token=TOKEN), log_level="warning", lifespan="off")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture(scope="module")
def shelf(place: Path) -> Iterator[Shelf]:
    with contextlib.closing(Shelf(str(place / "out"), threads=1)) as opened:
        yield opened


@pytest.fixture(scope="module")
def port(shelf: Shelf) -> Iterator[int]:
    with serving(shelf) as number:
        yield number


def get(port: int, path: str, *, token: str = TOKEN, host: str = "127.0.0.1", method: str = "GET") -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    with contextlib.closing(connection):
        connection.request(method, f"/{token}/{path}", headers={"Host": f"{host}:{port}"})
        answer = connection.getresponse()
        assert answer.getheader("Content-Security-Policy", "").startswith("default-src 'none'; style-src 'self'")
        return answer.status, answer.read().decode()


def listed(page: str) -> list[str]:
    """The names of the documents of a list, by their addresses."""
    found = re.findall(r'<a class="title" href="document/[^"]*">([^<]*)</a>', page)
    return [html.unescape(name).split("/")[3][:5] if "://" in name else "(none)" for name in found]


def search(port: int, **filters: str) -> list[str]:
    status, page = get(port, "?" + urlencode(filters))
    assert status == 200, page
    return listed(page)


def page_of(port: int, name: str, kind: str = "document") -> str:
    status, page = get(port, "?" + urlencode({"host": f"{name[:5]}.site.test"}))
    assert status == 200
    identity = re.findall(r'href="document/([0-9a-f]+)', page)[0]
    status, page = get(port, f"{kind}/{identity}")
    assert status == 200
    return page


def test_all_documents_are_listed_kept_or_not(port: int, place: Path) -> None:
    counts = read_manifest(place / "out")["counts"]
    assert len(search(port)) == counts["documents"]
    for outcome in ("kept", "dropped", "quarantined"):
        assert len(search(port, outcome=outcome)) == counts[outcome]
    assert search(port, outcome="quarantined") == ["(none)"]


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        ({"reason": "symbol_ratio"}, {"spam"}),
        ({"stage": "near_dedup"}, {"near"}),
        ({"language": "de"}, {"germa"}),
        ({"host": "site.test", "outcome": "kept"}, {"plain", "hosti"}),
        ({"host": "PLAIN.site.test"}, {"plain"}),
        ({"host": "lain.site.test"}, set()),
        ({"score": "hash_sign_ratio", "least": "0.1"}, {"spam"}),
        ({"score": "language_score", "most": "1", "language": "de"}, {"germa"}),
        ({"words": "QUOKKA", "outcome": "kept"}, {"plain"}),
        ({"words": "quokka", "outcome": "dropped"}, {"copy", "near"}),
        ({"words": '"sign: 100%" quokka'}, {"plain", "copy"}),
        ({"words": "100_ quokka"}, set()),
        ({"words": "wombat kangaroo"}, set()),
        ({"words": "<script>"}, {"hosti"}),
    ],
)
def test_filters_find_what_they_say(port: int, filters: dict[str, str], names: set[str]) -> None:
    found = [name for name in search(port, **filters) if not name.startswith("odd-")]
    assert len(found) == len(names)
    assert {name for name in found if name != "(none)"} <= {*names, "it's"}
    assert names <= {*found}


def test_a_score_of_a_dropped_document_comes_from_the_work_folder(shelf: Shelf) -> None:
    rows, _ = shelf.page(Asked(score="word_count", least=1, order="word_count", first="largest"))
    by_name = {row["url"].split("/")[3][:5]: row["word_count"] for row in rows}
    assert {"spam", "copy", "near", "germa", "plain"} <= by_name.keys()
    values = [row["word_count"] for row in rows]
    assert values == sorted(values, reverse=True)


def test_pages_tile_the_list(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.browse.shelf.PAGE_ROWS", 3)
    with contextlib.closing(Shelf(str(place / "out"), threads=1)) as shelf:
        for asked in (Asked(), Asked(order="url"), Asked(order="measured"), Asked(score="word_count", least=1)):
            seen, page, more = [], 1, True
            while more:
                rows, more = shelf.page(replace(asked, page=page))
                seen += [(row["outcome"] != "kept", row["file"], row["row"], row["id"]) for row in rows]
                page += 1
            assert len(seen) == len(set(seen)) == shelf.count(asked)[0]
            assert asked.order or seen == sorted(seen)


def test_a_link_keeps_every_filter_and_a_page_is_a_number_one_can_ask_for() -> None:
    asked = Asked(score="word_count", least=1.0, most=1.0, page=1)
    assert asked.link(page=2) == "score=word_count&least=1.0&most=1.0&page=2"
    assert asked.link() == "score=word_count&least=1.0&most=1.0"
    for page in ("0", "1" + "0" * 30, "-1"):
        with pytest.raises(ValueError, match="page"):
            read_asked({"page": page}, scores=frozenset(), reasons=frozenset(), stages=frozenset())


def test_a_dropped_document_shows_its_text_with_the_offence_marked_and_what_was_measured(port: int) -> None:
    page = page_of(port, "spam")
    assert page.count("<mark>#</mark>") == 120
    assert "measured <b>" in page
    assert "against 0.1" in page
    assert re.search(r"<dt>language</dt><dd>en</dd>", page), "what it passed before"
    assert "near_dedup" not in page, "no stage behind the one that dropped it"


def test_a_duplicate_leads_to_what_was_kept_and_back(port: int) -> None:
    page = page_of(port, "near")
    assert "http://plain.site.test/plain" in page
    beside = page_of(port, "near", "compare")
    assert "<mark>my_mark.</mark>" in beside
    assert '<mark class="other">an_underscore.</mark>' in beside
    assert "2 removed for this one" in page_of(port, "plain")


def test_quarantine_says_where(port: int) -> None:
    page = get(port, "?outcome=quarantined")[1]
    assert re.search(r"docs\.warc\.gz at [\d,]+ to [\d,]+", page)


def test_text_of_the_crawl_is_text(port: int) -> None:
    for page in (page_of(port, "hostile"), get(port, "")[1], page_of(port, f"odd-{SCRIPT}")):
        assert "&lt;script&gt;" in page or "hosti" in page
        assert "<script" not in page
        assert "<img" not in page


ATTACKS = [
    "' OR 1=1 --", '" OR 1=1 --', "'; DROP VIEW documents; --", "x') UNION SELECT 1 --", "%", "_", "\\", "*", "[a-z]",
    "read_text('/etc/hostname')", "${7*7}{{7*7}}", "\u202e\ud7ff\uffff", "1 OR 1", "NULL", "?", "$1",
]  # fmt: skip


@pytest.mark.parametrize("field", ["words", "language", "host", "source", "partner"])
def test_what_is_written_into_a_filter_is_a_value(port: int, field: str) -> None:
    for attack in ATTACKS:
        wanted = {"words": '"' + attack.replace('"', "") + '"'}.get(field, attack) if field == "words" else attack
        status, page = get(port, "?" + urlencode({field: wanted}))
        assert status == 200, (attack, page[:300])
        holding = [name for name, text in TEXTS.items() if attack.replace('"', "").lower() in text.lower()]
        assert len(listed(page)) == (len(holding) if field == "words" else 0), attack
        assert "<script" not in page


@pytest.mark.parametrize(
    "field", ["outcome", "stage", "reason", "score", "order", "first", "least", "id", "page", "odd"]
)
def test_what_names_a_column_or_a_number_is_looked_up_or_refused(port: int, field: str) -> None:
    for attack in ATTACKS:
        status, page = get(
            port, "?" + urlencode({field: attack, **({"score": "word_count"} if field == "least" else {})})
        )
        assert status == 400, (field, attack)
        assert 'role="alert"' in page
    assert get(port, f"document/{quote(ATTACKS[0])}")[0] == 404
    assert get(port, f"compare/{quote(ATTACKS[2])}")[0] == 404


def test_the_database_reaches_nothing_but_the_run(shelf: Shelf, place: Path) -> None:
    secret = place / "secret.csv"
    secret.write_text("a,b\n1,2\n")
    database = shelf._database.cursor()
    for query in (
        f"SELECT * FROM read_csv('{str(secret).replace(chr(39), chr(39) * 2)}')",
        "SELECT * FROM read_text('/etc/hostname')",
        "COPY (SELECT 1) TO '/tmp/tamis-browse-test'",
        "INSTALL httpfs",
        "SET enable_external_access = true",
        "ATTACH '/tmp/tamis-browse-test.db'",
    ):
        with pytest.raises(duckdb.Error):
            database.execute(query)


def test_only_the_address_that_was_printed_is_answered(port: int) -> None:
    assert get(port, "", token="guess")[0] == 403
    assert get(port, "", host="evil.example")[0] == 403
    assert get(port, "", host="127.0.0.1.evil.example")[0] == 403
    assert get(port, "", host="localhost")[0] == 200
    assert get(port, "", method="POST")[0] == 405
    assert get(port, "../../etc/passwd")[0] in (403, 404)


def test_a_run_whose_work_folder_is_gone_says_so(place: Path) -> None:
    with (
        contextlib.closing(Shelf(str(place / "out"), work=str(place / "nowhere"), threads=1)) as bare,
        serving(bare) as at,
    ):
        assert "The work folder of this run is gone" in get(at, "")[1]
        assert {"plain"} == set(search(at, words="quokka", outcome="kept")), "kept texts are whole"
        assert search(at, words="kangaroo OR wombat") == []
        assert search(at, words="wombat") == ["spam"], "found by the ledger's excerpt"
        assert search(at, score="hash_sign_ratio", least="0.5") == ["spam"], "the value that judged it"
        page = page_of(at, "spam")
        assert "The text is gone" in page
        assert "The wombat has it" in page
        assert re.search(r"<dt>word_count</dt>", page_of(at, "plain"))


def test_what_was_taken_down_is_not_shown(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "out", tmp_path / "out")
    with contextlib.closing(Shelf(str(tmp_path / "out"), threads=1)) as before:
        identity = before.page(Asked(host="plain.site.test"))[0][0]["id"]
    remove(str(tmp_path / "out"), [identity])
    with contextlib.closing(Shelf(str(tmp_path / "out"), threads=1)) as shelf, serving(shelf) as at:
        assert search(at, words="quokka") == []
        for name in ("plain", "near"):
            page = page_of(at, name)
            assert "was taken down" in page
            assert "quokka" not in page.lower()
        assert "taken down" in page_of(at, "near", "compare")


def test_a_question_that_takes_too_long_is_stopped(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.browse.shelf.SECONDS", 0.3)
    monkeypatch.setattr(Shelf, "_selected", lambda *_: ("range(1000000000000) AS documents", "range % 7 = 8", []))
    with contextlib.closing(Shelf(str(place / "out"), threads=1)) as slow:
        with pytest.raises(TooSlowError):
            slow.count(Asked())
        monkeypatch.setattr(Shelf, "page", lambda shelf, asked: shelf.count(asked))
        with serving(slow) as at:
            status, page = get(at, "?words=the")
            assert status == 503
            assert "Narrow the list" in page


def test_the_command_listens_on_loopback_alone_and_ends_quietly(place: Path) -> None:
    command = [sys.executable, "-c", "from pipeline.cli import main; main()", "browse", str(place / "out")]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        found = re.fullmatch(r"http://127\.0\.0\.1:(\d+)/([\w-]{32})/\n", process.stdout.readline())
        assert found
        assert get(int(found[1]), "", token=found[2])[0] == 200
        listens = [
            one for one in psutil.Process(process.pid).net_connections("inet") if one.status == psutil.CONN_LISTEN
        ]
        assert [(one.laddr.ip, one.laddr.port) for one in listens] == [("127.0.0.1", int(found[1]))]
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    if shutil.which("chromium") is None:
        pytest.skip("chromium is not installed")
    with tab(tmp_path_factory.mktemp("chromium")) as opened:
        yield opened


@pytest.mark.parametrize("width", [390, 1280])
def test_in_a_browser_one_searches_reads_and_goes_back(browser: Tab, port: int, width: int) -> None:
    def fits() -> None:
        assert browser.evaluate("document.documentElement.scrollWidth") <= width
        assert browser.evaluate("document.scripts.length") == 0
        assert "OWNED" not in browser.evaluate("document.title")
        assert all(url.startswith(f"http://127.0.0.1:{port}/") for url in browser.requested)

    browser.width(width)
    browser.open(f"http://127.0.0.1:{port}/{TOKEN}/")
    fits()
    assert browser.evaluate("document.querySelectorAll('table.documents tbody tr').length") == len(TEXTS) + 1
    assert (
        browser.evaluate("getComputedStyle(document.querySelector('button')).backgroundColor") != "rgb(239, 239, 239)"
    )
    browser.evaluate("document.querySelector('[name=words]').value = 'it\\'s <script>'")
    browser.click("button")
    assert browser.evaluate("document.querySelectorAll('table.documents tbody tr').length") == 1
    browser.click("a.title")
    fits()
    time.sleep(0.2)  # an image that fails to load would have run its script by now
    assert "OWNED" not in browser.evaluate("document.title")
    assert SCRIPT in browser.evaluate("document.querySelector('.text').textContent")
    assert json.loads(
        browser.evaluate("JSON.stringify([...document.querySelectorAll('mark')].map(m => m.textContent))")
    )
    browser.click(".back a")
    browser.open(f"http://127.0.0.1:{port}/{TOKEN}/?reason=near_dup")
    browser.click("a.title")
    fits()
    browser.open(browser.evaluate("document.querySelector('a[href*=compare]').href"))
    fits()
    assert browser.evaluate("document.querySelectorAll('mark').length") >= 2


def test_even_a_page_that_failed_to_escape_could_run_nothing(browser: Tab, port: int) -> None:
    browser.open(f"http://127.0.0.1:{port}/{TOKEN}/")
    browser.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"document.title=1+1\">')")
    time.sleep(0.2)
    assert browser.evaluate("document.title") == "browsed: documents"
