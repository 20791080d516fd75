"""Settings of the Bloom stage: drops documents whose text was kept by an earlier run.

Each finished run leaves one immutable slice in the folder `seen`; a run reads the slices that were there when it was
planned, and never its own. The work is done by `pipeline/dedup/bloom.py`.
"""

from typing import Literal

from stages.stage import Settings, place, setting


class BloomSettings(Settings):
    """Where the slices are, and how large and how sure the one of this run is."""

    seen: str = place(..., "Folder of the slices, one file per finished run: a path or s3://bucket/prefix.")
    compare: Literal["normal_form", "verbatim"] = setting(
        "normal_form", "What the same text means, as in `exact_dedup`. Slices made with another value are refused."
    )
    capacity: int = setting(
        10_000_000,
        "Documents that the slice of this run can hold. It takes 14.4 bits a document at the default rate (18 MB), in "
        "memory and on disk; a run that keeps more is refused.",
        ge=1_000,
    )
    false_positive_rate: float = setting(
        0.001, "Share of new documents that one full slice drops by mistake. It adds up over slices.", gt=0, lt=0.5
    )
