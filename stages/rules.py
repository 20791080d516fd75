"""What the rule stages share: thresholds that differ by language within one recipe.

    - type: gopher_quality
      min_words: 50
      per_language:
        de: {stop_words: de, max_mean_word_length: 12}
        zh: {min_mean_word_length: 0, stop_words: zh}

A document is judged by the thresholds of its measured language (the column `language`): those of the stage, with what
`per_language` says of that language in their place. Only thresholds can differ, so a change costs a comparison.
"""

import difflib
from collections.abc import Callable
from functools import wraps
from typing import Any, Self, TypeVar

import numpy as np
import pyarrow as pa
from pydantic import ValidationError, model_validator

from stages.stage import Settings, threshold


class RuleSettings(Settings):
    """Settings of a stage whose thresholds may differ by language."""

    per_language: dict[str, dict[str, Any]] = threshold(
        {}, "For a language's code, as the language stage names it, the thresholds that differ for its documents."
    )

    @model_validator(mode="after")
    def _overrides_are_thresholds(self) -> Self:
        known = self.names_of("threshold") - {"per_language"}
        for language, changes in self.per_language.items():
            for name in changes:
                if name not in known:
                    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
                    raise ValueError(
                        f"per_language.{language}: {name!r} is no threshold of this stage. "
                        + (f"Did you mean {near[0]!r}?" if near else f"They are: {', '.join(sorted(known))}.")
                    )
            try:
                self.for_language(language)
            except ValidationError as error:
                problem = error.errors()[0]
                where = ".".join(["per_language", language, *map(str, problem["loc"])])
                raise ValueError(f"{where}: {problem['msg']} (found {problem['input']!r})") from None
        return self

    def for_language(self, language: str) -> Self:
        """The settings by which documents of this language are judged."""
        plain = self.model_dump(exclude={"per_language"})
        return type(self).model_validate({**plain, **self.per_language.get(language, {})})


S = TypeVar("S", bound=RuleSettings)


def by_language(judge: Callable[[pa.Table, S], pa.Table]) -> Callable[[pa.Table, S], pa.Table]:
    """`judge`, given to each document with the thresholds of its language; without `per_language`, `judge` itself."""

    @wraps(judge)
    def judge_each(docs: pa.Table, settings: S) -> pa.Table:
        if not settings.per_language:
            return judge(docs, settings)
        named = docs["language"].to_pylist()
        groups: dict[str, list[int]] = {}
        for row, language in enumerate(named):
            groups.setdefault(language if language in settings.per_language else "", []).append(row)
        rows = [row for group in groups.values() for row in group]
        parts = [judge(docs.take(pa.array(group)), settings.for_language(name)) for name, group in groups.items()]
        if not parts:
            return judge(docs, settings)
        return pa.concat_tables(parts).take(pa.array(np.argsort(rows)))

    return judge_each
