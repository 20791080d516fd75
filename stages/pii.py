"""Personal data and secrets: e-mail, phone, IP address, IBAN, card number, keys and tokens are counted and masked.

Counts are stored, values never: not in a column, not in the ledger, whose excerpt shows the masked text.

The masks are the words of MASKS. They are no value that could belong to somebody (a made-up address would be learned,
and people would get mail), they say what stood there so that the sentence stays whole, they hold nothing that any
pattern finds, so that a masked text can be masked again, and each can be one token of a vocabulary.

Sources: The idea of masking and not dropping is Dolma's (Soldaini et al. 2024, section 5.3), which drops documents with
more than five findings; FineWeb masks e-mail and public IP addresses (Penedo et al. 2024, section 3.7). Patterns and
checks: stages/pii_patterns.py. Names, street addresses and numbers of identity papers are not looked for: no pattern
finds them with a precision that is worth having.
"""

from collections.abc import Mapping
from typing import Any, Final, Literal

import numpy as np
import pyarrow as pa

from stages.pii_patterns import KINDS, Kind, findings, replaced
from stages.stage import Rule, Settings, Stage, setting, threshold, verdicts

MASKS: Final[dict[Kind, str]] = {
    "secret": "<SECRET>",
    "email": "<EMAIL>",
    "iban": "<IBAN>",
    "card": "<CARD>",
    "ip": "<IP>",
    "phone": "<PHONE>",
}

ADDS: Final = pa.schema(
    [
        # The text with everything of `kinds` masked.
        pa.field("text", pa.large_string(), nullable=False),
        # Findings of each kind, whether it is masked or not.
        *(pa.field(f"pii_{kind}", pa.int64(), nullable=False) for kind in KINDS),
        # Findings of the kinds in `kinds` together.
        pa.field("pii_findings", pa.int64(), nullable=False),
    ]
)


class PiiSettings(Settings):
    kinds: tuple[Kind, ...] = setting(
        KINDS, "kinds that are masked and judged; the others are counted and stay in the text", min_length=1
    )
    action: Literal["mask", "drop"] = threshold(
        "mask", "`mask` keeps every document; `drop` drops those with more than max_findings (the rest stays masked)"
    )
    max_findings: int = threshold(
        5, "findings of `kinds` in a document above which `drop` drops it; 5 is Dolma's (section 5.3)", ge=0
    )


def measure(docs: pa.Table, settings: PiiSettings, _resources: Mapping[str, Any]) -> pa.Table:
    """ADDS for each document, in order: the masked text and the counts."""
    texts: list[str] = []
    counts = np.zeros((docs.num_rows, len(KINDS)), dtype=np.int64)
    masked = [kind in settings.kinds for kind in KINDS]
    for row, text in enumerate(docs["text"].to_pylist()):
        found = findings(text)
        for column, kind in enumerate(KINDS):
            counts[row, column] = len(found.get(kind, ()))
        masks = [(span, MASKS[kind]) for kind in settings.kinds for span in found.get(kind, ())]
        texts.append(replaced(text, masks) if masks else text)
    columns = [np.ascontiguousarray(column) for column in counts.T]
    return pa.table([pa.array(texts, pa.large_string()), *columns, counts[:, masked].sum(axis=1)], schema=ADDS)


def judge(docs: pa.Table, settings: PiiSettings) -> pa.Table:
    """With `drop`, rejects documents with more findings than the limit; the detail says how many of which kind."""
    findings_of = docs["pii_findings"].to_numpy()
    named = [docs[f"pii_{kind}"].to_pylist() for kind in KINDS]
    passes = (findings_of <= settings.max_findings) | (settings.action == "mask")
    detail: list[str | None] = [None] * docs.num_rows
    for row in np.flatnonzero(~passes).tolist():
        detail[row] = ", ".join(
            f"{column[row]} {kind}" for kind, column in zip(KINDS, named, strict=True) if column[row]
        )
    rule = Rule(reason="pii", passes=passes, measured=findings_of, threshold=settings.max_findings, detail=detail)
    return verdicts([rule], docs.num_rows)


STAGE: Final = Stage(
    name="pii",
    settings=PiiSettings,
    adds=ADDS,
    measure=measure,
    judge=judge,
    judges=("pii_findings", *(f"pii_{kind}" for kind in KINDS)),
    libraries=("phonenumberslite",),
    modules=("stages.pii_patterns",),
)
