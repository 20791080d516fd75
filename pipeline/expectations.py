"""A stage that drops nearly everything, or keeps what it should not, says so: in the manifest and on standard error."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from pipeline.recipe import StageEntry

#: What is expected of a stage that names nothing: that some documents survive it. A wrong threshold, language or model
#: keeps next to nothing; the strictest stage in use, DCLM's classifier, keeps a tenth.
DEFAULT_KEPT: Final = (0.02, 1.0)
#: Fewer documents say nothing about a stage for which the recipe states no range.
_ENOUGH_DOCUMENTS: Final = 100


def unexpected(named: Sequence[tuple[str, StageEntry]], counts: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A warning for each stage that kept another share of its documents than expected, in the recipe's order.

    `named`: the stages with their labels. `counts`: one line a stage, as in a manifest.
    """
    by_label = {line["stage"]: line for line in counts}
    warnings = []
    for number, (label, entry) in enumerate(named):
        line = by_label.get(label)
        enough = 1 if entry.expect_kept is not None else _ENOUGH_DOCUMENTS
        if line is None or line["documents"] < enough:
            continue
        low, high = entry.expect_kept or DEFAULT_KEPT
        kept = round(line["kept"] / line["documents"], 4)
        if not low <= kept <= high:
            setting = f"stages.{number}.expect_kept"
            warnings.append(
                {
                    "stage": label,
                    "kept": kept,
                    "expected": [low, high],
                    "setting": setting,
                    "message": f"stage {label} kept {line['kept']:,} of {line['documents']:,} documents ({kept:.2%}); "
                    f"expected were {low:.0%} to {high:.0%}. If that is right, say so in the recipe: "
                    f"expect_kept: [{min(low, kept):g}, {max(high, kept):g}] in this stage, or --set "
                    f"'{setting}=[{min(low, kept):g}, {max(high, kept):g}]'",
                }
            )
    return warnings
