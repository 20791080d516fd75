"""Everything impure: recipe, plan, sources, runners, exchange, ledger, store, report and the command line.

recipe.py -> plan.py -> run.py -> (engine.py over runners/) -> parts on disk -> manifest.json, report.html
"""

import hashlib
import os
import stat
import tempfile
from pathlib import Path


def _kernel_cache() -> str:
    """A folder for numba's compiled kernels that changes with the source of any of them.

    numba finds a stale entry by the file that holds the kernel, not by the files that hold the kernels it calls; so
    after a change of one module the machine code of another would still do what the old one did. The folder is the
    user's own: what lies in it is run.
    """
    root, digest = Path(__file__).parents[1], hashlib.sha256()
    sources = [*sorted((root / "stages").glob("*.py")), *sorted((root / "pipeline/dedup").glob("*.py"))]
    for source in [*sources, root / "pipeline/exchange.py"]:
        digest.update(source.name.encode() + b"\0" + source.read_bytes() + b"\0")
    name = f"kernels-{digest.hexdigest()[:16]}"
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()) / "tamis"
    try:
        caches.mkdir(parents=True, exist_ok=True)
        if os.access(caches, os.W_OK):
            return str(caches / name)
    except OSError:
        pass  # a user without a home of their own, as in many containers
    mine = Path(tempfile.gettempdir()) / f"tamis-{os.getuid()}"
    mine.mkdir(mode=0o700, exist_ok=True)
    found = mine.lstat()
    if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o022:
        return str(mine / name)
    # Somebody else made it, or may write there.
    return tempfile.mkdtemp(prefix="tamis-kernels-")


# numba reads these once, when it is first imported; workers and children inherit them.
if "NUMBA_CACHE_DIR" not in os.environ:
    os.environ["NUMBA_CACHE_DIR"] = _kernel_cache()
    os.environ.setdefault("NUMBA_CACHE_LOCATOR_CLASSES", "stages.compiled.Locator")
