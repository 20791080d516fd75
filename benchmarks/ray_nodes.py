"""A real Ray of several nodes on one machine: each a raylet of its own with its own temporary folder."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil


class Nodes:
    """A head without cores, and nodes of one core each that join and die."""

    def __init__(self, path: str = "") -> None:
        """`path` is on the nodes' path, and the folder that holds Tamis is not."""
        import pipeline.runners.ray_runner  # noqa: F401, I001 (it sets what must be set before Ray is imported)
        from ray.cluster_utils import Cluster

        self._folders: list[str] = []
        # Where Ray notes the latest cluster of this machine: it may be somebody's.
        self._before = {name: os.environ.get(name) for name in ("RAY_TMPDIR", "PYTHONPATH")}
        notes = tempfile.mkdtemp(prefix="tr-", dir="/tmp")
        self._folders.append(notes)
        os.environ |= {"RAY_TMPDIR": notes, "PYTHONPATH": path}
        (Path(notes) / "ray").mkdir()
        self._cluster = Cluster(initialize_head=True, head_node_args=self._node(num_cpus=0, include_dashboard=False))
        self.address: str = self._cluster.address

    def _node(self, **options):
        # In /tmp itself: a socket's path may have no more than 107 bytes.
        folder = tempfile.mkdtemp(prefix="tr-", dir="/tmp")
        self._folders.append(folder)
        return {"temp_dir": folder, "object_store_memory": 80 << 20, **options}

    def join(self, **resources):
        for attempt in range(3):
            try:
                return self._cluster.add_node(**self._node(num_cpus=1, **resources))
            except Exception as error:  # Ray's own class; it gives a node half a minute, which a busy machine may not
                if "timed out during startup" not in str(error) or attempt == 2:
                    raise
        raise AssertionError

    def kill(self, node) -> None:
        """All its processes at once, as when a machine is taken away."""
        started = [each.process.pid for group in node.all_processes.values() for each in group]
        found = [psutil.Process(pid) for pid in started if psutil.pid_exists(pid)]
        found += [child for process in found for child in process.children(recursive=True)]
        for process in found:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(found, timeout=20)
        self._cluster.worker_nodes.discard(node)

    def close(self) -> None:
        import ray

        ray.shutdown()  # of a test that failed before its runner was closed
        self._cluster.shutdown()
        for name, value in self._before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        for folder in self._folders:
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def ray_nodes(count: int, path: str = "") -> Iterator[tuple[Nodes, list]]:
    nodes = Nodes(path)
    try:
        yield nodes, [nodes.join() for _ in range(count)]
    finally:
        nodes.close()
