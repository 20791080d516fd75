"""Every stage, in the order in which data usually meets them. What a recipe's `type` names is looked up here."""

from stages import (
    c4_quality,
    dclm_quality,
    dclm_repetition,
    decontaminate,
    extract,
    fineweb_quality,
    gopher_quality,
    gopher_repetition,
    held_out,
    language,
    perplexity,
    pii,
    quality,
    refinedweb_lines,
    toxicity,
    url_filter,
    word_list,
)
from stages.bloom_dedup import BloomSettings
from stages.exact_dedup import ExactDedupSettings
from stages.near_dedup import NearDedupSettings
from stages.span_dedup import (
    LineDedupSettings,
    ParagraphDedupSettings,
    SentenceDedupSettings,
    SubstringDedupSettings,
)
from stages.stage import Exchange, Extraction, Stage
from stages.url_dedup import UrlDedupSettings

_ALL: tuple[Stage | Exchange | Extraction, ...] = (
    Extraction(name="extract", settings=extract.ExtractSettings),
    url_filter.STAGE,
    language.STAGE,
    gopher_quality.STAGE,
    gopher_repetition.STAGE,
    dclm_quality.STAGE,
    dclm_repetition.STAGE,
    c4_quality.STAGE,
    refinedweb_lines.STAGE,
    fineweb_quality.STAGE,
    quality.STAGE,
    toxicity.STAGE,
    perplexity.STAGE,
    word_list.STAGE,
    pii.STAGE,
    held_out.STAGE,
    decontaminate.STAGE,
    Exchange(name="url_dedup", settings=UrlDedupSettings),
    Exchange(name="exact_dedup", settings=ExactDedupSettings),
    Exchange(name="near_dedup", settings=NearDedupSettings),
    Exchange(name="line_dedup", settings=LineDedupSettings),
    Exchange(name="paragraph_dedup", settings=ParagraphDedupSettings),
    Exchange(name="sentence_dedup", settings=SentenceDedupSettings),
    Exchange(name="substring_dedup", settings=SubstringDedupSettings),
    Exchange(name="bloom", settings=BloomSettings),
)

CATALOGUE: dict[str, Stage | Exchange | Extraction] = {stage.name: stage for stage in _ALL}
