"""Ray core tasks: a window of submitted tasks, our own bounded retries, and nothing that the result depends on.

This is the one file that knows Ray. Plain tasks on files, not Ray Data: it packs, reorders and retries in ways that
break the promises of order and of bounded attempts.
"""

import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

# Ray's processes listen on every interface; a token keeps strangers out. It must be set before Ray is imported.
os.environ.setdefault("RAY_AUTH_MODE", "token")
if not (
    "RAY_AUTH_TOKEN" in os.environ
    or "RAY_AUTH_TOKEN_PATH" in os.environ
    or (Path.home() / ".ray" / "auth_token").is_file()
):
    # Nobody gave one, so a Ray of our own gets a new one, which no cluster knows.
    os.environ["TAMIS_NEW_RAY_TOKEN"] = os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
os.environ.setdefault("RAY_DISABLE_IMPORT_WARNING", "1")
# Nothing of a run is told to anybody.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import ray
from ray.exceptions import (
    NodeDiedError,
    ObjectLostError,
    OutOfMemoryError,
    RayTaskError,
    RuntimeEnvSetupError,
    WorkerCrashedError,
)

from pipeline.files import Files
from pipeline.parts import Commit, Task
from pipeline.runners import worker
from pipeline.runners.base import TaskFailedError
from pipeline.runners.needs import Needs, needs_of
from pipeline.runners.worker import PACKAGES, ROOT, Expected, check_root, code_of
from pipeline.runners.worker import StrangerError as StrangerError
from pipeline.yaml_tree import RecipeError

#: Times a task may take its worker down before the run stops: once is bad luck (the system ran out of memory), three
#: times is the task.
_CRASHES = 3
#: Times a task may lose its machine: spot nodes go in dozens, but a task that always takes a whole machine with it must
#: end some time.
_NODE_DEATHS = 20
#: Tasks submitted for each worker: one runs, one waits, so that no worker idles while the driver looks away.
_WINDOW_PER_WORKER = 2
#: Ray's own object store: our data travels through files, so the smallest store it accepts is enough.
_OBJECT_STORE_BYTES = 80 << 20
#: Seconds after which the driver looks whether nodes have joined or left, while no task ends.
_LOOK_SECONDS = 10.0


class ClusterError(RecipeError):
    """The cluster cannot be used as it was asked for."""


def _copy_code(target: Path) -> None:
    """Our packages as they stand here, models included, and nothing else of the folder that they lie in."""
    for name in PACKAGES:
        shutil.copytree(ROOT / name, target / name, ignore=shutil.ignore_patterns("__pycache__"))
    # A package of recipes and model sizes, which `train` reads its presets from.
    shutil.copytree(ROOT / "configs", target / "configs", ignore=shutil.ignore_patterns("__pycache__"))


class RayRunner:
    """Runs tasks on a local Ray that it starts and ends itself, or on a cluster by its address.

    On a cluster our code is shipped: nodes need the libraries, in the driver's versions, and not Tamis. `workers`
    bounds the tasks under way; 0 is as many as there are cores, on a cluster as many as it has at the moment.
    `versions` are what every node must have.
    """

    def __init__(
        self,
        *,
        workers: int,
        address: str | None = None,
        needs: Mapping[str, Needs] | None = None,
        versions: tuple[tuple[str, str], ...] = (),
    ) -> None:
        check_root(str(ROOT))
        if address:
            _refuse_unusable(address)
        self._asked, self._address, self._needs = workers, address, dict(needs or {})
        self._scratch = tempfile.TemporaryDirectory(prefix="tamis-ray-", ignore_cleanup_errors=True)
        environment = {"OMP_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1"}
        folder = Path(self._scratch.name) / "folder"
        if address:
            _copy_code(folder)
            self._expected = Expected(root=None, code=code_of(ROOT), versions=versions)
            local: dict[str, Any] = {}
        else:
            # Ray puts the driver's folder first on the workers' path; an empty one holds no stranger.
            folder.mkdir()
            environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
            self._expected = Expected(root=str(ROOT), code="")
            local = {
                "num_cpus": workers or os.cpu_count() or 1,
                "include_dashboard": False,
                "object_store_memory": _OBJECT_STORE_BYTES,
                "_temp_dir": self._scratch.name,
            }
        try:
            ray.init(
                address=address or "local",
                runtime_env={"working_dir": str(folder), "env_vars": environment},
                log_to_driver=False,
                logging_level="ERROR",
                **local,
            )
        except ConnectionError as error:
            self._scratch.cleanup()
            raise ClusterError(
                f"--ray-address {address}: no cluster answers there ({error}). The command has to run on one of its "
                "nodes."
            ) from error
        self._markers: dict[str, str] = {}
        self._remote: dict[tuple[Needs, bool], Any] = {}

    @property
    def workers(self) -> int:
        """Tasks that can run at the same moment, now."""
        if self._asked:
            return self._asked
        return max(1, int(ray.cluster_resources().get("CPU", 1)))

    def run(self, work: str, tasks: Sequence[Task]) -> Iterator[tuple[int, Commit]]:
        expected = self._seen_in(work)
        waiting = list(range(len(tasks)))[::-1]
        crashes, node_deaths = [0] * len(tasks), [0] * len(tasks)
        under_way: dict[ray.ObjectRef, int] = {}
        while waiting or under_way:
            while waiting and len(under_way) < self._window:
                place = waiting.pop()
                under_way[self._function(tasks[place]).remote(work, tasks[place], expected)] = place
            ready, _ = ray.wait(list(under_way), num_returns=1, timeout=_LOOK_SECONDS)
            for reference in ready:
                place = under_way.pop(reference)
                task = tasks[place]
                try:
                    yield place, ray.get(reference)
                except RayTaskError as error:
                    raise TaskFailedError(f"{task.phase}, unit {task.unit}: {error.cause}") from error
                except RuntimeEnvSetupError as error:
                    raise TaskFailedError(
                        f"{task.phase}, unit {task.unit}: a node could not unpack our code: {error}"
                    ) from error
                except (NodeDiedError, ObjectLostError) as error:
                    # The machine went, and what its task had answered with it; what is committed is found done.
                    node_deaths[place] += 1
                    if node_deaths[place] >= _NODE_DEATHS:
                        raise TaskFailedError(
                            f"{task.phase}, unit {task.unit}: its node died {_NODE_DEATHS} times ({error})"
                        ) from error
                    waiting.append(place)
                except (WorkerCrashedError, OutOfMemoryError) as error:
                    crashes[place] += 1
                    if crashes[place] >= _CRASHES:
                        raise TaskFailedError(
                            f"{task.phase}, unit {task.unit}: its worker died {_CRASHES} times ({error})"
                        ) from error
                    waiting.append(place)

    @property
    def _window(self) -> int:
        # A number of workers is kept to on a cluster too, where Ray would start one more task on every free core.
        return self.workers if self._address and self._asked else _WINDOW_PER_WORKER * self.workers

    def _seen_in(self, work: str) -> Expected:
        """What workers must find, a marker in the work folder included where they may be on other machines."""
        if not self._address:
            return self._expected
        if work not in self._markers:
            self._markers[work] = f".seen-by-every-node-{secrets.token_hex(8)}"
            Files(work).write_bytes(self._markers[work], b"")
        return replace(self._expected, marker=self._markers[work])

    def _function(self, task: Task) -> Any:
        """The remote function with what this task's phase needs."""
        has_gpu = self._has("GPU", 1.0)
        needs = needs_of(task.phase, self._needs, gpu=task.only_gpu or (task.gpu and has_gpu))
        # A worker that has loaded a model onto a GPU serves the next task too (Ray's choice is a new worker). Not where
        # a node has several, or may have: it would stay on its first GPU when Ray gives it another.
        reused = has_gpu and not self._has("GPU", 2.0)
        if (needs, reused) not in self._remote:
            self._tell_if_impossible(task, needs)
            options: dict[str, Any] = {"max_retries": 0, "num_cpus": needs.cpus, "name": "_execute"}
            if needs.memory_bytes:
                options["memory"] = needs.memory_bytes
            if needs.gpus:
                options |= {"num_gpus": needs.gpus, "max_calls": 0 if reused else 1}
            self._remote[needs, reused] = ray.remote(**options)(worker.execute_checked)
        return self._remote[needs, reused]

    def _has(self, resource: str, amount: float) -> bool:
        return any(node["Alive"] and node["Resources"].get(resource, 0) >= amount for node in ray.nodes())

    def _tell_if_impossible(self, task: Task, needs: Needs) -> None:
        """Ray waits without a word for a machine that is large enough, which only an autoscaler may bring."""
        wanted = {"CPU": needs.cpus, "memory": float(needs.memory_bytes), "GPU": needs.gpus}
        for resource, amount in wanted.items():
            if amount and not self._has(resource, amount):
                message = (
                    f"tasks of {task.phase.rpartition('-')[0]} need {resource} {amount:g}, and no node has so much"
                )
                if not self._address:
                    raise ClusterError(f"{message}: lower --need")
                print(f"tamis: warning: {message} now: they wait until one joins", file=sys.stderr)

    def close(self) -> None:
        for work, marker in self._markers.items():
            Files(work).delete(marker)
        ray.shutdown()
        self._scratch.cleanup()


def _refuse_unusable(address: str) -> None:
    """ClusterError for what cannot work, before Ray tries it for half a minute."""
    if address.startswith("ray://"):
        raise ClusterError(
            f"--ray-address {address}: this is the address of a Ray client. Run the command on a node of the cluster, "
            "with the address of its head (HOST:6379, or auto); docs/manual/cluster.md says how."
        )
    token, new = os.environ.get("RAY_AUTH_TOKEN"), os.environ.get("TAMIS_NEW_RAY_TOKEN")
    if token is not None and token == new and os.environ["RAY_AUTH_MODE"] == "token":
        raise ClusterError(
            f"--ray-address {address}: no token. Put the cluster's into ~/.ray/auth_token or RAY_AUTH_TOKEN; a cluster "
            "that lets everybody in needs RAY_AUTH_MODE=disabled."
        )
