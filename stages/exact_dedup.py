"""Settings of exact deduplication: of documents with the same text, one is kept.

Which one is a policy (stages/survivors.py): by default the highest `quality_score` if the table has that column, then
the longest text, then the smallest id. A document without a single word is nobody's duplicate. The work is an exchange:
`pipeline/dedup/exact.py`.
"""

from typing import Literal

from stages.stage import setting
from stages.survivors import SurvivorSettings


class ExactDedupSettings(SurvivorSettings):
    """What "the same text" means."""

    compare: Literal["normal_form", "verbatim"] = setting(
        "normal_form",
        "`normal_form` ignores case, white space and punctuation (stages/normalise.py says exactly what); "
        "`verbatim` compares the text's bytes.",
    )
