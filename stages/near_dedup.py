"""Settings of near deduplication: of documents with nearly the same text, one is kept.

The result is defined without hashing: walk the documents from best to worst (a policy, stages/survivors.py; by default
highest `quality_score` if the table has that column, then longest text, then smallest id); a document is removed if and
only if it is verified similar to one already kept. MinHash bands only propose pairs; similarity is that of the whole
shingle sets. The work is an exchange: `pipeline/dedup/near.py`.
"""

from typing import Any, Final, Literal, Self

from pydantic import model_validator

from stages.minhash import bands_for, proposal_probability
from stages.stage import Settings, place, setting
from stages.survivors import SurvivorSettings

#: A pair at the threshold is proposed at least this surely when bands and rows follow from it; more similar pairs more
#: surely still. Vain proposals cost time, never a document, since each pair is verified.
PROPOSAL_RECALL = 0.9


class Shingle(Settings):
    """What a text is cut into before it is compared."""

    unit: Literal["word", "character"] = setting(
        "word",
        "`word` takes runs of words of the normal form (characters in scripts without spaces), "
        "`character` of characters.",
    )
    size: int = setting(
        5,
        "Words or characters in a shingle. 5 words as in FineWeb and RefinedWeb; shorter ones find more by chance.",
        ge=1,
        le=64,
    )


#: What others did, as settings. Their threshold is the one they name; ours is verified on the whole shingle sets.
PRESETS: Final[dict[str, dict[str, Any]]] = {
    # Penedo et al. 2024 (FineWeb), section 3.4: 5-grams of words, 112 hash functions, 14 bands of 8, "at least 75 %".
    "fineweb": {
        "threshold": 0.75,
        "editions": "merge",
        "shingle": {"unit": "word", "size": 5},
        "permutations": 112,
        "bands": 14,
        "rows": 8,
    },
    # Penedo et al. 2023 (RefinedWeb), appendix G.3.1, after Lee et al. 2021: 5-grams, 9,000 hash functions, 450 bands
    # of 20 values; a pair at 0.8 is proposed with probability 0.995. Its section 3.3 says "20 buckets of 450 hashes":
    # those would propose nothing below 0.98, and its own formula, Lee et al. and FineWeb's appendix E.1 say 450 of 20.
    "refinedweb": {
        "threshold": 0.8,
        "editions": "merge",
        "shingle": {"unit": "word", "size": 5},
        "permutations": 9000,
        "bands": 450,
        "rows": 20,
    },
    # Rae et al. 2021 (Gopher), appendix A.1.1: 13-grams, Jaccard above 0.8. It names no bands: they follow.
    "gopher": {"threshold": 0.8, "editions": "merge", "shingle": {"unit": "word", "size": 13}},
}


class NearDedupSettings(SurvivorSettings):
    """How similar is too similar, and how surely similar pairs are found."""

    preset: Literal["fineweb", "refinedweb", "gopher"] | None = setting(
        None, "Takes the settings of a paper for all that the recipe does not name: see PRESETS in this file."
    )
    threshold: float = setting(
        0.85,
        "A document is removed at this similarity to a kept one, or more. FineWeb's nominal value is 0.75; of one "
        "university's pages from 0.75 to 0.85, most pairs of which the address says what they are were different pages "
        "(docs/decisions.md).",
        gt=0,
        le=1,
    )
    similarity: Literal["jaccard", "containment"] = setting(
        "jaccard",
        "`jaccard`: shared shingles over all shingles of both; `containment`: shared shingles over those of "
        "the document to be removed.",
    )
    shingle: Shingle = setting(Shingle(), "What a text is cut into.")
    editions: Literal["keep", "strict", "merge"] = setting(
        "keep",
        "`keep`: two texts that name different terms or years near their beginning (course pages of two terms, reports "
        "of two years; stages/editions.py) are no duplicates; `strict`: nor are two that do not name the same "
        "terms and years in all of their length; `merge` looks at the similarity alone, as others do.",
    )
    permutations: int = setting(
        128,
        "Values in a MinHash signature, 4 bytes each: more cost time, and find pairs more surely.",
        ge=8,
        le=16384,
    )
    bands: int | None = setting(
        None,
        "Bands of the signature; agreeing in one proposes a pair. Null follows from `threshold`; FineWeb takes 14 "
        "of 8 rows.",
        ge=1,
    )
    rows: int | None = setting(None, "Values in a band. Null follows from `threshold`. Give both or neither.", ge=1)
    crowded: int = setting(
        64,
        "Documents in one bucket from which on its pairs are no longer all proposed at once "
        "(pipeline/dedup/buckets.py). "
        "Changes the work, never which documents are duplicates of a kept one.",
        ge=2,
    )

    against: str | None = place(
        None,
        "Folder of what earlier runs kept, one slice per finished run (bands and shingles): a path or "
        "s3://bucket/prefix. A document similar to one of them is removed, and this run leaves a slice of its own. "
        "Slices made with other shingles, permutations, bands or rows are refused.",
    )

    @model_validator(mode="before")
    @classmethod
    def _preset_fills_in(cls, given: Any) -> Any:
        if isinstance(given, dict) and given.get("preset") in PRESETS:
            filled = dict(PRESETS[given["preset"]])
            if "bands" in given or "rows" in given or "permutations" in given:
                filled = {
                    name: value for name, value in filled.items() if name not in ("permutations", "bands", "rows")
                }
            return {**filled, **given}
        return given

    @model_validator(mode="after")
    def _slices_know_one_edition(self) -> Self:
        if self.editions == "strict" and self.against is not None:
            raise ValueError("against: its slices hold the first edition that a text names; take editions: keep")
        return self

    @model_validator(mode="after")
    def _bands_fit(self) -> Self:
        if (self.bands is None) != (self.rows is None):
            raise ValueError("give both `bands` and `rows`, or neither")
        if self.bands is not None and self.rows is not None and self.bands * self.rows > self.permutations:
            raise ValueError(
                f"{self.bands} bands of {self.rows} rows need {self.bands * self.rows} permutations, "
                f"there are {self.permutations}"
            )
        return self

    def banding(self) -> tuple[int, int]:
        """(bands, rows), given or derived from the threshold."""
        if self.bands is not None and self.rows is not None:
            return self.bands, self.rows
        return bands_for(self.threshold, permutation_count=self.permutations, recall=PROPOSAL_RECALL)

    def curve(self) -> list[tuple[float, float]]:
        """(similarity, probability that a pair is proposed), for similarities of 0.5 to 1 in steps of 0.05."""
        bands, rows = self.banding()
        return [(step / 20, proposal_probability(step / 20, bands=bands, rows=rows)) for step in range(10, 21)]
