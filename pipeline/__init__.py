"""Everything impure: recipe, plan, sources, runners, exchange, ledger, store, report and the command line.

recipe.py -> plan.py -> run.py -> (engine.py over runners/) -> parts on disk -> manifest.json, report.html
"""

import hashlib
import os
import tempfile
from pathlib import Path


def _kernel_cache() -> str:
    """A folder for numba's compiled kernels that changes with the source of any of them.

    numba finds a stale entry by the file that holds the kernel, not by the files that hold the kernels it calls; so
    after a change of one module the machine code of another would still do what the old one did.
    """
    root, digest = Path(__file__).parents[1], hashlib.sha256()
    for folder in ("stages", "pipeline/dedup"):
        for source in sorted((root / folder).glob("*.py")):
            digest.update(source.name.encode() + b"\0" + source.read_bytes() + b"\0")
    return str(Path(tempfile.gettempdir()) / f"tamis-kernels-{os.getuid()}-{digest.hexdigest()[:16]}")


# numba reads these once, when it is first imported; workers and children inherit them.
if "NUMBA_CACHE_DIR" not in os.environ:
    os.environ["NUMBA_CACHE_DIR"] = _kernel_cache()
    os.environ.setdefault("NUMBA_CACHE_LOCATOR_CLASSES", "stages.compiled.Locator")
