"""Text from a model: greedy or sampled, one token at a time, with cached keys and values."""

from dataclasses import dataclass

import pyarrow as pa
import torch
from torch import Tensor

from tokenizer.bpe import Tokenizer, decode, encode
from train.model import KeyValueCache, Transformer


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

    def __post_init__(self) -> None:
        if self.max_new_tokens < 0 or self.temperature < 0 or self.top_k < 0:
            raise ValueError("max_new_tokens, temperature and top_k cannot be negative")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p {self.top_p} is not within 0 (excluded) and 1")


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
    generator = torch.Generator().manual_seed(settings.seed)
    cache = KeyValueCache(model.settings.num_hidden_layers)
    new: list[int] = []
    while len(new) < settings.max_new_tokens and cache.length + step.shape[1] <= longest:
        hidden = model.hidden(step, cache)[0, -1]
        # Padding rows of the vocabulary have no text.
        logits = model.logits(hidden)[: tokenizer.vocab_size].cpu()
        chosen = choose(logits, settings, generator)
        if chosen == tokenizer.end_of_text_id:
            break
        new.append(chosen)
        step = torch.tensor([[chosen]], device=step.device)
    array = pa.array([torch.tensor(new).numpy().astype(tokenizer.dtype).tobytes()], pa.large_binary())
    text: str = decode(array, tokenizer)[0].as_py()
    return text


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
