"""Model files: which are bundled, whether a file is whole, and loading it.

A fastText model file carries no checksum. Cut at the end it loads and answers nonsense (0.25 where the whole file says
0.96), cut in the middle it crashes the process (fasttext-community 0.11.9, lid.176.ftz). So no file reaches the
library before its sha256 was compared, where one is known, and before its length was recomputed from its own headers.
"""

import hashlib
import importlib
import struct
import zipfile
from pathlib import Path
from typing import Any, Final

import fasttext

BUILTIN_FOLDER: Final = Path(__file__).parent / "builtin"
BUILTIN_PREFIX: Final = "builtin/"

#: The bundled models and the sha256 of each; its card lies beside it (NAME.md).
BUILTIN: Final[dict[str, str]] = {
    "lid.176": "8f3472cfe8738a7b6099e8e999c3cbfae0dcd15696aac7d7738a8039db603e83",
    # Made by benchmarks/train_builtin.py.
    "quality-en": "dd8df2e7aeb1fd4caf5eec326066b87830d4624e2c549b1797b1a24e761a0c19",
    "toxicity-en": "91ee09d70d83e6511fb2875e0e394e16905a45c2c27cb0cc019a2f36a1e6fcae",
    "toxicity-zh": "199b6458f988a059e5f8c647c3b37a9fde5114cb25942936f0c2dd6a39aba6ce",
    # Made by `tamis extractor train`; not fastText's.
    "extractor": "1c3648486d5599a73b32492b590b8bacfb017f56a2bc69b0415751fa15ae623e",
}
#: Bundled models that are not fastText's.
_SUFFIX: Final = {"extractor": ".npz"}
#: The judge of the engine tamis.
JUDGE: Final = "builtin/extractor"

# The layout of fastText's model files, version 12 (fasttext.cc, args.cc, dictionary.cc, quantmatrix.cc: MIT).
_MAGIC = 793712314
_VERSION = 12
_ARGS_BYTES = 12 * 4 + 8  # twelve int32 and one double
_CENTROIDS = 256  # of a product quantiser, one for each value of a code byte


def builtin_path(reference: str) -> Path:
    """The packaged file that `builtin/NAME` stands for. ValueError for an unknown name lists the known ones."""
    name = reference.removeprefix(BUILTIN_PREFIX)
    if not reference.startswith(BUILTIN_PREFIX) or name not in BUILTIN:
        known = ", ".join(BUILTIN_PREFIX + each for each in BUILTIN)
        raise ValueError(f"no bundled model is called {reference!r}. Known: {known}. Your own go by path")
    return BUILTIN_FOLDER / f"{name}{_SUFFIX.get(name, '.ftz')}"


def file_sha256(path: Path) -> str:
    """The sha256 of the file's bytes, as 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load_fasttext(path: Path, sha256: str | None = None) -> Any:
    """The fastText model in `path`.

    ValueError, naming the file and the fix, where the file is missing, has another sha256 than expected, or is not a
    whole fastText model. A bundled model is always held against the sha256 that it was released with.
    """
    if not path.is_file():
        raise ValueError(f"model {path}: there is no such file. Check the path, or name a bundled model (builtin/NAME)")
    if sha256 is None and path.parent == BUILTIN_FOLDER:
        sha256 = BUILTIN.get(path.stem)
    if sha256 is not None and (found := file_sha256(path)) != sha256:
        raise ValueError(
            f"model {path}: expected sha256 {sha256}, found {found}. "
            "Fetch the file again, or correct `sha256` in the recipe if the new file is the one you mean"
        )
    _check_whole(path)
    return fasttext.load_model(str(path))


def load_judge(path: Path | None = None) -> Any:
    """The judge of the engine tamis: the bundled one, held against its sha256, or the one in `path`.

    ValueError, naming the file, if it is not the one that was released, or none at all.
    """
    bundled = builtin_path(JUDGE)
    data = (path or bundled).read_bytes()
    if path is None and hashlib.sha256(data).hexdigest() != BUILTIN["extractor"]:
        raise ValueError(f"model {bundled}: not the file that was released. Install the package again")
    try:
        return importlib.import_module("stages.extract_tamis").Judge.from_bytes(data)
    except (KeyError, OSError, EOFError, zipfile.BadZipFile, ValueError) as error:
        raise ValueError(f"model {path}: not a judge of the engine tamis ({error})") from error


def _check_whole(path: Path) -> None:
    """ValueError unless the file is exactly as long as its own headers say."""
    data = path.read_bytes()
    fix = "Fetch or train the model again"
    try:
        expected = _expected_bytes(data)
    except (struct.error, ValueError) as error:
        raise ValueError(f"model {path}: not a fastText model, or cut short ({error}). {fix}") from error
    if expected != len(data):
        raise ValueError(f"model {path}: {len(data)} bytes, but its headers ask for {expected}. {fix}")


def _expected_bytes(data: bytes) -> int:
    """The length that the headers in `data` add up to; struct.error or ValueError where they cannot be read."""
    magic, version = struct.unpack_from("<ii", data, 0)
    if magic != _MAGIC or version > _VERSION:
        raise ValueError("it does not begin like one")
    at = 8 + _ARGS_BYTES
    entries, _words, _labels, _tokens, pruned = struct.unpack_from("<iiiqq", data, at)
    at += 28
    for _ in range(entries):
        at = data.index(b"\0", at) + 1 + 9  # the word, its count (int64) and its kind (int8)
    at += 8 * max(pruned, 0)
    (quantised,) = struct.unpack_from("<?", data, at)
    at = _behind_matrix(data, at + 1, quantised=quantised)
    (quantised_output,) = struct.unpack_from("<?", data, at)
    return _behind_matrix(data, at + 1, quantised=quantised and quantised_output)


def _behind_matrix(data: bytes, at: int, *, quantised: bool) -> int:
    """The offset behind the matrix that begins at `at`: floats, or the codes and centroids of a product quantiser."""
    if not quantised:
        rows, columns = struct.unpack_from("<qq", data, at)
        return at + 16 + int(4 * rows * columns)
    has_norms, rows, _columns, codes = struct.unpack_from("<?qqi", data, at)
    at = _behind_quantiser(data, at + 21 + codes)
    if has_norms:
        at = _behind_quantiser(data, at + rows)
    return at


def _behind_quantiser(data: bytes, at: int) -> int:
    dimension, _parts, _width, _last_width = struct.unpack_from("<iiii", data, at)
    return at + 16 + int(4 * dimension * _CENTROIDS)
