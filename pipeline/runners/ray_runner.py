"""Ray core tasks: a window of submitted tasks, our own bounded retries, and nothing that the result depends on.

This is the one file that knows Ray. Plain tasks on files, not Ray Data: it packs, reorders and retries in ways that
break the promises of order and of bounded attempts.
"""

import os
import secrets
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

# Ray's processes listen on every interface; a token keeps strangers out. It must be set before Ray is imported.
os.environ.setdefault("RAY_AUTH_MODE", "token")
if "RAY_AUTH_TOKEN" not in os.environ and "RAY_AUTH_TOKEN_PATH" not in os.environ:
    os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
os.environ.setdefault("RAY_DISABLE_IMPORT_WARNING", "1")
# Nothing of a run is told to anybody.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import ray
from ray.exceptions import RayTaskError, WorkerCrashedError

from pipeline.parts import Commit, Task, execute
from pipeline.runners.base import TaskFailedError

#: Times a task may take its worker down before the run stops: once is bad luck (the system ran out of memory), three
#: times is the task.
_CRASHES = 3
#: Tasks submitted for each worker: one runs, one waits, so that no worker idles while the driver looks away.
_WINDOW_PER_WORKER = 2
#: Ray's own object store: our data travels through files, so the smallest store it accepts is enough.
_OBJECT_STORE_BYTES = 80 << 20

ROOT = Path(__file__).resolve().parents[2]


class StrangerError(RuntimeError):
    """A process imported another project's package under one of our names."""


def check_root(expected: str) -> str:
    """The folder that `pipeline`, `stages`, `tokenizer` and `train` are all imported from. StrangerError if not one."""
    import importlib.util

    roots = {}
    for name in ("pipeline", "stages", "tokenizer", "train"):
        spec = importlib.util.find_spec(name)
        roots[name] = str(Path(spec.origin).resolve().parents[1]) if spec and spec.origin else "nowhere"
    if set(roots.values()) != {expected}:
        raise StrangerError(
            f"expected all packages below {expected}, found {roots}. Another project with a package of the same name "
            "comes first on the path: start from another folder, or uninstall it."
        )
    return expected


def _execute(work: str, task: Task, root: str) -> Commit:
    check_root(root)
    return execute(work, task)


class RayRunner:
    """Runs tasks on a local Ray that it starts and ends itself, or on a cluster by its address."""

    def __init__(self, *, workers: int, address: str | None = None) -> None:
        check_root(str(ROOT))
        self.workers = workers
        self._scratch = tempfile.TemporaryDirectory(prefix="tamis-ray-", ignore_cleanup_errors=True)
        # Ray puts the driver's folder first on the workers' path; an empty one holds no stranger.
        empty = Path(self._scratch.name) / "empty"
        empty.mkdir()
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
        environment = {
            "working_dir": str(empty),
            "env_vars": {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1"},
        }
        local = {
            "num_cpus": workers,
            "include_dashboard": False,
            "object_store_memory": _OBJECT_STORE_BYTES,
            "_temp_dir": self._scratch.name,
        }
        ray.init(
            address=address or "local",
            runtime_env=environment,
            log_to_driver=False,
            logging_level="ERROR",
            **({} if address else local),
        )
        self._remote = ray.remote(max_retries=0, num_cpus=1)(_execute)
        # A worker that has loaded a model onto a GPU serves the next task too (Ray's own choice would be a new worker).
        gpus = int(ray.cluster_resources().get("GPU", 0))
        self._remote_gpu = (
            ray.remote(max_retries=0, num_cpus=1, num_gpus=1, max_calls=0)(_execute) if gpus else self._remote
        )

    def run(self, work: str, tasks: Sequence[Task]) -> Iterator[tuple[int, Commit]]:
        waiting = list(range(len(tasks)))[::-1]
        crashes = [0] * len(tasks)
        under_way: dict[ray.ObjectRef, int] = {}
        while waiting or under_way:
            while waiting and len(under_way) < _WINDOW_PER_WORKER * self.workers:
                place = waiting.pop()
                remote = self._remote_gpu if tasks[place].gpu else self._remote
                under_way[remote.remote(work, tasks[place], str(ROOT))] = place
            ready, _ = ray.wait(list(under_way), num_returns=1)
            for reference in ready:
                place = under_way.pop(reference)
                task = tasks[place]
                try:
                    yield place, ray.get(reference)
                except RayTaskError as error:
                    raise TaskFailedError(f"{task.phase}, unit {task.unit}: {error.cause}") from error
                except (WorkerCrashedError, ray.exceptions.OutOfMemoryError, ray.exceptions.NodeDiedError) as error:
                    crashes[place] += 1
                    if crashes[place] >= _CRASHES:
                        raise TaskFailedError(
                            f"{task.phase}, unit {task.unit}: its worker died {_CRASHES} times ({error})"
                        ) from error
                    waiting.append(place)

    def close(self) -> None:
        ray.shutdown()
        self._scratch.cleanup()
