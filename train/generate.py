"""Text from a model: greedy, sampled or by beam search, one token at a time, with cached keys and values."""

from dataclasses import dataclass

import pyarrow as pa
import torch
from torch import Tensor

from tokenizer.bpe import Tokenizer, decode, encode
from train.layers import KeyValueCache
from train.model import Transformer


@dataclass(frozen=True, kw_only=True)
class SampleSettings:
    """How the next token is chosen."""

    #: At most this many; a model also stops at its end-of-text token and at its longest sequence.
    max_new_tokens: int = 100
    #: 0: always the likeliest token. 1: as the model says.
    temperature: float = 0.8
    #: Only the likeliest `top_k` tokens; 0: all.
    top_k: int = 50
    #: Only the likeliest tokens that together reach this probability.
    top_p: float = 1.0
    seed: int = 0
    #: More than 1: beam search, the likeliest of so many continuations followed at once; nothing is drawn.
    beams: int = 1

    def __post_init__(self) -> None:
        if self.max_new_tokens < 0 or self.temperature < 0 or self.top_k < 0:
            raise ValueError("max_new_tokens, temperature and top_k cannot be negative")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p {self.top_p} is not within 0 (excluded) and 1")
        if self.beams < 1:
            raise ValueError(f"beams {self.beams} is not positive")


@torch.no_grad()
def generate(model: Transformer, prompt: str, settings: SampleSettings, *, tokenizer: Tokenizer) -> str:
    """The continuation of the prompt, without it. Same model, prompt and settings: same text.

    Of a prompt too long for the model only the last tokens that leave room for one more are seen. An empty prompt is
    the beginning of a document. Bytes that are no whole character appear as U+FFFD.
    """
    tokens, _ = encode(pa.array([prompt], pa.large_string()), tokenizer)
    ids = torch.frombuffer(bytearray(tokens[0].as_py()), dtype=_torch_dtype(tokenizer)).long() if prompt else None
    start = torch.tensor([tokenizer.end_of_text_id])
    seen = start if ids is None else torch.cat([start, ids])
    longest = model.settings.max_position_embeddings
    step = seen[-(longest - 1) :].unsqueeze(0).to(model.output_weight.device)
    search = _sampled if settings.beams == 1 else _beam_search
    new = search(model, step, settings, tokenizer)
    array = pa.array([torch.tensor(new).numpy().astype(tokenizer.dtype).tobytes()], pa.large_binary())
    text: str = decode(array, tokenizer)[0].as_py()
    return text


def _sampled(model: Transformer, step: Tensor, settings: SampleSettings, tokenizer: Tokenizer) -> list[int]:
    generator = torch.Generator().manual_seed(settings.seed)
    cache = KeyValueCache(model.settings.num_hidden_layers)
    new: list[int] = []
    while len(new) < settings.max_new_tokens and _fits(model, cache, step):
        chosen = choose(_logits(model, step, cache, tokenizer)[0], settings, generator)
        if chosen == tokenizer.end_of_text_id:
            break
        new.append(chosen)
        step = torch.tensor([[chosen]], device=step.device)
    return new


@torch.no_grad()
def continuations(
    model: Transformer, prompts: Tensor, settings: SampleSettings, *, tokenizer: Tokenizer
) -> list[list[int]]:
    """What follows each row of prompts [B, T], all drawn together: new tokens, up to the end of the text.

    Rows share one stream of dice, so that the same batch gives the same rows. `top_p` and `beams` are not followed.
    """
    if settings.beams != 1 or settings.top_p != 1:
        raise ValueError("many continuations at once are drawn without beams and top_p")
    generator = torch.Generator().manual_seed(settings.seed)
    cache = KeyValueCache(model.settings.num_hidden_layers)
    step = prompts.to(model.output_weight.device)
    new = torch.zeros((len(prompts), 0), dtype=torch.long)
    ended = torch.zeros(len(prompts), dtype=torch.bool)
    while new.shape[1] < settings.max_new_tokens and _fits(model, cache, step) and not bool(ended.all()):
        chosen = _choose_each(_logits(model, step, cache, tokenizer), settings, generator)
        ended |= chosen == tokenizer.end_of_text_id
        new = torch.cat([new, chosen.unsqueeze(1)], dim=1)
        step = chosen.unsqueeze(1).to(step.device)
    rows: list[list[int]] = new.tolist()
    end = tokenizer.end_of_text_id
    return [row[: row.index(end)] if end in row else row for row in rows]


def _choose_each(logits: Tensor, settings: SampleSettings, generator: torch.Generator) -> Tensor:
    """A token id for each row of logits [B, V]; as `choose`, without top_p."""
    if settings.temperature == 0:
        return logits.argmax(dim=1)
    ordered, ids = torch.sort(logits.float() / settings.temperature, dim=1, descending=True, stable=True)
    if settings.top_k:
        ordered, ids = ordered[:, : settings.top_k], ids[:, : settings.top_k]
    drawn = torch.multinomial(torch.softmax(ordered, dim=1), 1, generator=generator)
    return ids.gather(1, drawn).squeeze(1)


def _beam_search(model: Transformer, step: Tensor, settings: SampleSettings, tokenizer: Tokenizer) -> list[int]:
    """The continuation with the largest mean log probability of its tokens, the end of the text counted as one.

    Of equally likely ones the first found. Ended ones are kept aside; the search stops where no living one is left.
    """
    cache = KeyValueCache(model.settings.num_hidden_layers)
    living: list[tuple[float, list[int]]] = [(0.0, [])]
    ended: list[tuple[float, list[int]]] = []
    for _ in range(settings.max_new_tokens):
        if not living or not _fits(model, cache, step):
            break
        shares = torch.log_softmax(_logits(model, step, cache, tokenizer).double(), dim=-1)
        totals = shares + torch.tensor([[total] for total, _ in living], dtype=torch.float64)
        # Twice as many as are followed: at most one a beam ends the text.
        best = torch.topk(totals.flatten(), min(2 * settings.beams, totals.numel()))
        following: list[tuple[float, list[int], int]] = []
        for total, place in zip(best.values.tolist(), best.indices.tolist(), strict=True):
            beam, token = divmod(place, totals.shape[1])
            if token == tokenizer.end_of_text_id:
                ended.append((total / (len(living[beam][1]) + 1), living[beam][1]))
            elif len(following) < settings.beams:
                following.append((total, [*living[beam][1], token], beam))
        cache.select([beam for _, _, beam in following])
        step = torch.tensor([[ids[-1]] for _, ids, _ in following], device=step.device)
        living = [(total, ids) for total, ids, _ in following]
    finished = ended + [(total / max(1, len(ids)), ids) for total, ids in living]
    return max(finished, key=lambda found: found[0])[1]


def _fits(model: Transformer, cache: KeyValueCache, step: Tensor) -> bool:
    return cache.length + step.shape[1] <= model.settings.max_position_embeddings


def _logits(model: Transformer, step: Tensor, cache: KeyValueCache, tokenizer: Tokenizer) -> Tensor:
    """[B, vocabulary]: padding rows of the vocabulary have no text."""
    hidden = model.hidden(step, cache)[:, -1]
    return model.logits(hidden)[:, : tokenizer.vocab_size].cpu()


def choose(logits: Tensor, settings: SampleSettings, generator: torch.Generator) -> int:
    """A token id from the logits [V]; of equally likely tokens the smaller id is the likelier one."""
    if settings.temperature == 0:
        return int(logits.argmax())
    ordered, ids = torch.sort(logits / settings.temperature, descending=True, stable=True)
    if settings.top_k:
        ordered, ids = ordered[: settings.top_k], ids[: settings.top_k]
    shares = torch.softmax(ordered, dim=0)
    # A token stays while those before it have not reached top_p; the first one always does.
    shares = shares * (shares.cumsum(0) - shares < settings.top_p)
    return int(ids[torch.multinomial(shares, 1, generator=generator)])


def _torch_dtype(tokenizer: Tokenizer) -> torch.dtype:
    return torch.uint16 if tokenizer.dtype.itemsize == 2 else torch.uint32
