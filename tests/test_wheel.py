"""The wheel: built, installed where nothing of ours lies, and run from an empty folder."""

import json
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest
from corpus import make_crawl
from documents import ROOT

PACKAGES = ("pipeline", "stages", "tokenizer", "train", "configs")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Needs the package registry, for the build backend."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(folder), str(ROOT)]
    subprocess.run(command, check=True, timeout=600)
    (found,) = folder.glob("*.whl")
    return found


@pytest.mark.slow
def test_everything_of_our_packages_is_in_the_wheel(wheel):
    tracked = subprocess.run(
        ["git", "ls-files", "--", *PACKAGES], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
    assert set(tracked) <= held
    assert all(name.split("/")[0] in (*PACKAGES, "tamis-0.1.0.dist-info") for name in held)
    for kind in (".ftz", ".npz", ".css", ".jinja", ".yaml", ".toml"):
        assert any(name.endswith(kind) for name in held), kind


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_wheel_runs_from_an_empty_folder(wheel, tmp_path):
    """Recipe, models and report from the wheel; the libraries are those of this environment."""
    place = tmp_path / "venv"
    venv.create(place, with_pip=False)
    python = place / "bin" / "python"
    packages = place / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "-q", "--no-deps", "--no-index"]
    subprocess.run([*install, str(wheel)], check=True, timeout=300)
    # A path that a .pth file adds has its own .pth files left alone: an editable Tamis there stays unseen.
    (packages / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    empty = tmp_path / "empty"
    empty.mkdir()
    make_crawl(tmp_path / "crawl", files=1)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def tamis(*words: str) -> str:
        command = [str(place / "bin" / "tamis"), *words]
        done = subprocess.run(command, cwd=empty, env=environment, capture_output=True, text=True, timeout=900)
        assert done.returncode == 0, done.stderr
        return done.stdout

    where = subprocess.run(
        [str(python), "-c", "import pipeline; print(pipeline.__file__)"], cwd=empty, env=environment,
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert where.startswith(str(packages))
    asked = (
        "--input",
        str(tmp_path / "crawl"),
        "--set",
        "tokenizer.vocab_size=600",
        "--set",
        "tokenizer.sample_bytes=40000",
    )
    inline = json.loads(tamis("run", "configs/web.yaml", *asked, "--out", "one", "--runner", "inline", "--json"))
    assert inline["counts"]["kept"] > 10
    on_ray = json.loads(tamis("run", "configs/web.yaml", *asked, "--out", "two/run", "--workers", "2", "--json"))
    assert on_ray["root"] == inline["root"]
    assert "sound" in tamis("verify", "one")
    tamis("train", "--shards", "one/shards", "--preset", "tiny", "--tokens", "2000", "--out", "model")
    assert (empty / "one" / "report.html").stat().st_size > 10_000
