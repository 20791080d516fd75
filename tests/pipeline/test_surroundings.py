"""What a run meets around it: folders that cannot be written, other devices, names that fold, no network at all."""

import http.server
import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from corpus import prose
from warcs import http as response
from warcs import member, record

ROOT = Path(__file__).parents[2]


def _may(*arguments: str) -> bool:
    """Whether this system lets us have namespaces of our own."""
    if shutil.which("unshare") is None:
        return False
    return subprocess.run(["unshare", *arguments, "true"], capture_output=True, check=False).returncode == 0


mounts = pytest.mark.skipif(not _may("-rm"), reason="this system gives no mount namespace (unshare -rm)")
networks = pytest.mark.skipif(not _may("-rn"), reason="this system gives no network namespace (unshare -rn)")


def _command(recipe: Path, out: Path, work: Path) -> str:
    return f"{sys.executable} -m pipeline.cli run {recipe} --runner inline --out {out} --work {work}"


def _shell(script: str, *namespace: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        ["unshare", *namespace, "sh", "-c", script], cwd=ROOT, capture_output=True, text=True, check=False, timeout=240
    )


def _texts(folder: Path) -> Path:
    (folder / "a.jsonl").write_text("".join(json.dumps({"text": "\n".join(prose(seed))}) + "\n" for seed in range(3)))
    recipe = folder / "r.yaml"
    recipe.write_text(f'name: t\ninput: {{paths: ["{folder}/a.jsonl"]}}\nstages: [{{type: extract}}]\n')
    return recipe


@mounts
@pytest.mark.parametrize(("which", "option"), [("out", "--out"), ("work", "--work")])
def test_F25_a_folder_that_cannot_be_written_is_told_before_any_work(tmp_path, which, option):
    recipe, fixed = _texts(tmp_path), tmp_path / "fixed"
    fixed.mkdir()
    places = {"out": tmp_path / "out", "work": tmp_path / "work"} | {which: fixed / "here"}
    done = _shell(f"mount -t tmpfs -o ro none {fixed} && {_command(recipe, places['out'], places['work'])}", "-rm")
    assert done.returncode == 2
    expected = f"tamis: {fixed}/here: cannot be written (Read-only file system). Give another {option}."
    assert done.stderr.strip().split("\n")[-1] == expected
    assert not list(tmp_path.glob("work/*/*.commit.json"))


@mounts
def test_F25_work_and_output_on_different_devices_give_the_same_bytes(tmp_path):
    recipe, other = _texts(tmp_path), tmp_path / "other"
    other.mkdir()
    manifests = f"cp {other}/out/manifest.json {tmp_path}/there.json && stat -c %d {other} {tmp_path}/work"
    there = _shell(
        f"mount -t tmpfs none {other} && {_command(recipe, other / 'out', tmp_path / 'work')} && {manifests}", "-rm"
    )
    assert there.returncode == 0, there.stderr
    one, two = there.stdout.split()[-2:]
    assert one != two, "both folders were on one device"
    here = subprocess.run(_command(recipe, tmp_path / "out", tmp_path / "work2").split(), cwd=ROOT, check=True)
    assert here.returncode == 0
    found = [json.loads((tmp_path / name).read_text())["root"] for name in ("there.json", "out/manifest.json")]
    assert found[0] == found[1]
    # Nor does any name need a file system that tells capitals from small letters.
    names = [str(path.relative_to(tmp_path)) for folder in ("work2", "out") for path in (tmp_path / folder).rglob("*")]
    assert len({name.casefold() for name in names}) == len(names) > 5


class _Canary(http.server.BaseHTTPRequestHandler):
    hits = 0

    def do_GET(self) -> None:
        type(self).hits += 1
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def _page(address: str) -> bytes:
    """A page that names an address in every way in which a parser could be brought to fetch it."""
    body = "".join(f"<p>{line}</p>" for line in prose(1))
    return (
        f'<!DOCTYPE html SYSTEM "{address}/dtd" [<!ENTITY e SYSTEM "{address}/entity">]><html><head>'
        f'<base href="{address}/"><link rel="stylesheet" href="{address}/css"><script src="{address}/js"></script>'
        f'<meta http-equiv="refresh" content="0;url={address}/refresh"><style>@import url({address}/in)</style></head>'
        f'<body><img src="{address}/img"><iframe src="{address}/frame"></iframe><object data="{address}/obj"></object>'
        f"{body}&e;</body></html>"
    ).encode()


@networks
@pytest.mark.parametrize("engine", ["cascade, gate_min_words: 0", "tamis"])
def test_F39_extraction_asks_the_network_for_nothing(tmp_path, engine):
    """The same root in a network namespace without any interface; with one, a server that pages name sees no request.
    The cascade asks both resiliparse and trafilatura."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Canary) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_address[1]}"
        pages = [member(record(response(_page(address)), url=f"http://a.example/{number}")) for number in range(3)]
        (tmp_path / "a.warc.gz").write_bytes(b"".join(pages))
        recipe = tmp_path / "r.yaml"
        recipe.write_text(
            f'name: t\ninput: {{paths: ["{tmp_path}/a.warc.gz"]}}\nstages: [{{type: extract, engine: {engine}}}]\n'
        )
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        command = _command(recipe, tmp_path / "out", tmp_path / "work").split()
        subprocess.run(command, cwd=ROOT, check=True, env=environment)
        server.shutdown()
    alone = _shell(_command(recipe, tmp_path / "out2", tmp_path / "work2"), "-rn")
    assert alone.returncode == 0, alone.stderr
    one, two = (json.loads((tmp_path / name / "manifest.json").read_text()) for name in ("out", "out2"))
    assert one["root"] == two["root"]
    assert one["counts"]["kept"] == 3
    assert _Canary.hits == 0
