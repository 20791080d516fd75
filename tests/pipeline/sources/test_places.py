"""Web servers: the same bytes as from disk, by range requests, and not many of them."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from test_jsonl import line
from warcs import member, pages

from pipeline.sources.archive import Chain, Limits
from pipeline.sources.listing import InputError, cut, list_sources
from pipeline.sources.places import without_secrets
from pipeline.sources.reader import read_split
from pipeline.sources.records import Document

WARC = b"".join(map(member, pages(300))) * 8


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        data = self.server.files.get(self.path.partition("?")[0])
        if data is None:
            self.send_response(404)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        start, end, asked = 0, len(data), self.headers.get("Range")
        if asked:
            first, _, last = asked.removeprefix("bytes=").partition("-")
            start, end = int(first), min(int(last) + 1 if last else len(data), len(data))
        self.send_response(206 if asked else 200)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", self.server.tag)
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(data)}")
        self.send_header("Content-Length", str(end - start))
        self.end_headers()
        if body:
            self.server.served.append(end - start)
            self.wfile.write(data[start:end])

    def log_message(self, *about) -> None:
        """Say nothing."""


@pytest.fixture
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        server.files = {"/crawl/a.warc.gz": WARC, "/lines/b.jsonl": b"".join(map(line, range(500)))}
        server.served, server.tag = [], '"one"'
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        server.base = f"http://127.0.0.1:{server.server_address[1]}"
        yield server
        server.shutdown()
        thread.join()


def documents(paths, *, split_bytes: int) -> list[Document]:
    found = []
    for split in cut(list_sources(paths, cache={}), split_bytes=split_bytes):
        found += [item for item in read_split(split, Chain(), Limits()) if isinstance(item, Document)]
    return found


def test_a_server_gives_what_the_disk_gives_in_few_requests(server, tmp_path):
    (tmp_path / "a.warc.gz").write_bytes(WARC)
    (tmp_path / "b.jsonl").write_bytes(server.files["/lines/b.jsonl"])
    remote = [f"{server.base}/crawl/a.warc.gz", f"{server.base}/lines/b.jsonl?signature=secret"]
    assert documents(remote, split_bytes=200_000) == documents([str(tmp_path)], split_bytes=200_000)
    splits = -(-len(WARC) // 200_000) + 1
    assert len(server.served) <= 2 * splits + 4
    assert sum(server.served) <= 4 * len(WARC) + (1 << 20)


def test_an_etag_is_the_fingerprint_and_nothing_else_of_the_address_is_kept(server):
    place = f"{server.base}/lines/b.jsonl?signature=secret"
    (first,) = list_sources([place], cache={})
    assert (first.name, first.kind, first.size_bytes) == ("b.jsonl", "jsonl", len(server.files["/lines/b.jsonl"]))
    assert sum(server.served) < first.size_bytes * 2
    server.tag = '"two"'
    (second,) = list_sources([place], cache={})
    assert first.fingerprint != second.fingerprint
    assert "secret" not in without_secrets("https://user:secret@a.test/x?key=secret")


def test_a_file_that_is_not_there_is_the_users_mistake(server):
    with pytest.raises(InputError, match=r"/gone\.warc\.gz cannot be read"):
        list_sources([f"{server.base}/gone.warc.gz?key=secret"], cache={})
