"""configs/cluster/: valid for Ray's own schema, complete for KubeRay, and safe where the guide says that they are."""

import itertools
import json
import shlex
from pathlib import Path

import jsonschema
import pytest
import ray.autoscaler
import typer.main
from documents import ROOT
from ruamel.yaml import YAML

import pipeline.cli
from pipeline.recipe import load_recipe
from pipeline.runners.needs import parse_needs

FOLDER = ROOT / "configs/cluster"
FOR_RAY_UP = ["aws.yaml", "machines.yaml"]


def load(name: str) -> list:
    return list(YAML(typ="safe", pure=True).load_all((FOLDER / name).read_text(encoding="utf-8")))


def test_every_file_is_looked_at():
    assert sorted(path.name for path in FOLDER.glob("*.yaml")) == [*FOR_RAY_UP[:1], "kuberay.yaml", *FOR_RAY_UP[1:]]


@pytest.mark.parametrize("name", FOR_RAY_UP)
def test_a_file_for_ray_up_is_valid_for_rays_schema(name):
    schema = json.loads((Path(ray.autoscaler.__file__).parent / "ray-schema.json").read_text())
    (found,) = load(name)
    jsonschema.validate(found, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**found, "max_wrokers": 3}, schema)


@pytest.mark.parametrize("name", FOR_RAY_UP)
def test_every_ray_of_ours_asks_for_the_token_and_the_head_runs_no_task(name):
    from ray.scripts.scripts import cli

    (found,) = load(name)
    starts = [line for key in ("head", "worker") for line in found[f"{key}_start_ray_commands"] if "ray start" in line]
    assert len(starts) == 2
    for line in starts:
        assert "RAY_AUTH_MODE=token" in line
        options = {option for each in cli.commands["start"].params for option in each.opts}
        asked = [word.split("=")[0] for word in shlex.split(line) if word.startswith("--")]
        assert set(asked) <= options
    assert "--include-dashboard=false" in starts[0]
    types = found.get("available_node_types", {})
    assert "--num-cpus=0" in starts[0] or types[found["head_node_type"]]["resources"] == {"CPU": 0}
    assert any("auth_token" in place for place in found["file_mounts"])
    assert "requirements.lock" in found["file_mounts"].values()
    makefile = (ROOT / "Makefile").read_text()
    for place in found["file_mounts"].values():
        made = {"requirements.lock": "lock:", "dist/tamis-0.1.0-py3-none-any.whl": "wheel:"}.get(place)
        assert place.startswith("~") or (made is not None and f"\n{made}" in makefile)


def test_the_rayjob_has_what_kuberay_asks_for():
    job, policy = load("kuberay.yaml")
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    cluster = job["spec"]["rayClusterSpec"]
    versions = (ROOT / "constraints.txt").read_text().split()
    assert f"ray=={cluster['rayVersion']}" in versions
    assert cluster["authOptions"] == {"mode": "token"}
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    for group in groups:
        (container,) = group["template"]["spec"]["containers"]
        assert container["image"] == "IMAGE"
        assert container["resources"]["limits"]["memory"]
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
        mounted = {each["name"] for each in container.get("volumeMounts", [])}
        assert mounted == {each["name"] for each in group["template"]["spec"].get("volumes", [])}
    assert groups[0]["rayStartParams"]["num-cpus"] == "0"
    for group in groups[1:]:
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
    assert policy["kind"] == "NetworkPolicy"
    assert policy["spec"]["podSelector"] == policy["spec"]["ingress"][0]["from"][0]["podSelector"]


def test_the_command_of_the_rayjob_is_one_of_ours():
    words = shlex.split(load("kuberay.yaml")[0]["spec"]["entrypoint"])
    command = typer.main.get_command(pipeline.cli.app).commands["run"]
    options = {option for each in command.params for option in each.opts}
    assert words[:2] == ["tamis", "run"]
    assert {word for word in words if word.startswith("--")} <= options
    assert load_recipe(ROOT / words[2])
    assert parse_needs([after for word, after in itertools.pairwise(words) if word == "--need"])
