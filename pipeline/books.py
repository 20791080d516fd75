"""How phases count, so that for every stage, part and run: documents in = kept + dropped + quarantined."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from stages.reasons import outcome_of

#: Characters of a document's text that its ledger row shows.
EXCERPT_CHARACTERS = 200


class ConservationError(AssertionError):
    """Documents in are not documents out: a bug of ours, and never silent."""


@dataclass
class StageCount:
    """One stage's line in a part's counts."""

    documents: int = 0
    kept: int = 0
    text_bytes_kept: int = 0
    reasons: dict[str, int] = field(default_factory=dict)

    def reject(self, reason: str) -> None:
        outcome_of(reason)
        self.reasons[reason] = self.reasons.get(reason, 0) + 1

    def as_json(self) -> dict[str, Any]:
        if self.documents != self.kept + sum(self.reasons.values()):
            raise ConservationError(f"{self.documents} documents in, {self.kept} kept, rejected {self.reasons}")
        return {
            "documents": self.documents,
            "kept": self.kept,
            "text_bytes_kept": self.text_bytes_kept,
            "reasons": dict(sorted(self.reasons.items())),
        }


def excerpt(text: str | None) -> str | None:
    """The first characters of a text on one line, for a ledger row."""
    return " ".join(text[: 2 * EXCERPT_CHARACTERS].split())[:EXCERPT_CHARACTERS] if text else None


def outcomes(reasons: Mapping[str, int]) -> dict[str, int]:
    """Counts by reason as counts by outcome: {"dropped": n, "quarantined": m}."""
    total = {"dropped": 0, "quarantined": 0}
    for reason, count in reasons.items():
        total[outcome_of(reason)] += count
    return total
