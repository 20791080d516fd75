"""Several small models at once on one device: the seeds of an ablation, or its variants, as one batched model.

A model of 20 M parameters cannot fill a GPU. Here the same matrices of S models stand stacked, [S, n_out, n_in], and
every product is one batched product, so that S models cost little more kernel launches than one. Each model has its own
shards, seed, clipping and curve, and is what `train.loop.train` would have made of it but for float noise. There are no
checkpoints: such runs take minutes. A model whose loss is not finite ends them all.
"""

import json
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from tokenizer.bpe import Tokenizer
from tokenizer.shards import ShardSet
from train.alone import alone_in_all
from train.attention import attend, mask, pinned
from train.export import export
from train.layers import rotate
from train.loader import Loader
from train.loop import DivergedError, activation_dtype, environment
from train.loss import cross_entropy_and_z
from train.metrics import Curve, Progress, model_flop_utilisation
from train.model import ModelSettings, Transformer, count_parameters, new_model, rotary_table
from train.optimizers import decays
from train.prefetch import Prefetch
from train.settings import TrainSettings


@dataclass(frozen=True, kw_only=True)
class Member:
    """One of the models."""

    shards: ShardSet
    seed: int
    #: Folder for its curve, results and model.
    out: Path


class Stack(nn.Module):
    """S models of one shape. Parameters are theirs, stacked, under their names with `/` for `.`."""

    cos: Tensor
    sin: Tensor

    def __init__(self, models: Sequence[Transformer], *, z_loss: float = 0.0) -> None:
        super().__init__()
        self.settings, self.dtype, self.z_loss = models[0].settings, models[0].dtype, z_loss
        states = [dict(model.named_parameters()) for model in models]
        self.stacked = nn.ParameterDict(
            {name.replace(".", "/"): torch.stack([state[name].detach() for state in states]) for name in states[0]}
        )
        cos, sin = rotary_table(self.settings)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    def member(self, number: int) -> Transformer:
        """A copy of one of the models, on the CPU."""
        model = Transformer(self.settings)
        state = {name.replace("/", "."): value[number].detach().cpu() for name, value in self.stacked.items()}
        model.load_state_dict(state)
        return model

    def forward(self, ids: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """As `Objective.forward` for ids and targets [S, B, T], each sum a [S]."""
        s, b, t = ids.shape
        offsets = torch.arange(s, device=ids.device).view(s, 1, 1) * self.settings.vocab_size
        embeddings = self.stacked["model/embed_tokens/weight"]
        x = functional.embedding(ids + offsets, embeddings.flatten(0, 1)).to(self.dtype).view(s, b * t, -1)
        for layer in range(self.settings.num_hidden_layers):
            x = x + self._attention(layer, self._norm(f"model/layers/{layer}/input_layernorm", x), (s, b, t))
            y = self._norm(f"model/layers/{layer}/post_attention_layernorm", x)
            gate, up = (self._linear(f"model/layers/{layer}/mlp/{name}_proj", y) for name in ("gate", "up"))
            x = x + self._linear(f"model/layers/{layer}/mlp/down_proj", functional.silu(gate) * up)
        x = self._norm("model/norm", x)
        tied = self.settings.tie_word_embeddings
        output = embeddings if tied else self.stacked["lm_head/weight"]
        each = [cross_entropy_and_z(x[n], output[n], targets[n].flatten(), z_loss=self.z_loss) for n in range(s)]
        return torch.stack([objective for objective, _ in each]), torch.stack([nats for _, nats in each])

    def _linear(self, name: str, x: Tensor) -> Tensor:
        return torch.bmm(x, self.stacked[f"{name}/weight"].to(x.dtype).mT)

    def _norm(self, name: str, x: Tensor) -> Tensor:
        """Over the last dimension, with each model's own gain: x is [S, ...]."""
        gain = self.stacked[f"{name}/weight"].to(x.dtype)
        normed = functional.rms_norm(x, (x.shape[-1],), None, self.settings.rms_norm_eps)
        scaled: Tensor = normed * gain.view(len(gain), *[1] * (x.ndim - 2), -1)
        return scaled

    def _attention(self, layer: int, x: Tensor, shape: tuple[int, int, int]) -> Tensor:
        s, b, t = shape
        own, e = f"model/layers/{layer}/self_attn", self.settings.head_dim
        q, k, v = (self._linear(f"{own}/{name}_proj", x).view(s, b * t, -1, e) for name in "qkv")
        if self.settings.qk_norm:
            q, k = self._norm(f"{own}/q_norm", q), self._norm(f"{own}/k_norm", k)
        q, k, v = (heads.view(s * b, t, -1, e).transpose(1, 2) for heads in (q, k, v))
        cos, sin = self.cos[:t].to(x.dtype), self.sin[:t].to(x.dtype)
        allowed = mask(t, window=self.settings.sliding_window, documents=None, device=x.device)
        grouped = self.settings.num_key_value_heads != self.settings.num_attention_heads
        y = attend(rotate(q, cos, sin), rotate(k, cos, sin), v, mask=allowed, grouped=grouped)
        return self._linear(f"{own}/o_proj", y.transpose(1, 2).reshape(s, b * t, -1))


def train_several(
    members: Sequence[Member],
    settings: TrainSettings,
    *,
    model: ModelSettings,
    tokenizer: Tokenizer | None = None,
    progress: Progress | None = None,
) -> list[dict[str, Any]]:
    """Train all members from their seeds to the end; `settings.seed` is not used. Gives each one's results.json.

    `progress` is called with the first member's lines. `micro_batch_sequences` counts for each model. Raises ValueError
    for settings that this cannot do: Muon, document masks; DivergedError where a loss is not finite.
    """
    if settings.optimizer != "adamw" or settings.document_mask:
        raise ValueError("several models at once are trained by adamw and without document_mask")
    if model.mixture is not None or model.latent is not None:
        raise ValueError("several models at once have neither a mixture of experts nor latent attention")
    if not members:
        raise ValueError("there is no model to train")
    device = torch.device(settings.device)
    threads = torch.get_num_threads()
    torch.set_num_threads(settings.threads)
    try:
        with pinned(settings.attention, device) as kernels:
            return _train(members, settings, model, tokenizer, device, kernels, progress)
    finally:
        torch.set_num_threads(threads)


def _train(
    members: Sequence[Member],
    settings: TrainSettings,
    shape: ModelSettings,
    tokenizer: Tokenizer | None,
    device: torch.device,
    kernels: list[str],
    progress: Progress | None,
) -> list[dict[str, Any]]:
    dtype = activation_dtype(settings)
    stack = Stack([new_model(shape, seed=m.seed, dtype=dtype) for m in members], z_loss=settings.z_loss).to(device)
    forward: Any = torch.compile(stack, dynamic=False) if settings.compile else stack
    optimizer = _optimizer(stack, settings)
    flop, started, warm = shape.flop_per_token(settings.sequence_length), time.perf_counter(), time.perf_counter()
    with ExitStack() as opened:
        opened.enter_context(alone_in_all(member.out for member in members))
        feeds, curves = [], []
        for member in members:
            for name in ("metrics.jsonl", "speed.jsonl"):
                (member.out / name).write_bytes(b"")
            loader = Loader(
                member.shards,
                sequence_length=settings.sequence_length,
                batch_sequences=settings.batch_sequences,
                seed=member.seed,
                order=settings.order,
            )
            feeds.append(opened.enter_context(Prefetch(loader, device)))
            curve = Curve(member.out, done_bytes=0, flop_per_token=flop, device=device, ranks=1, writes=True)
            curves.append(opened.enter_context(curve))
        for step in range(settings.steps):
            rate = settings.rate(step)
            losses, norms = _step(stack, forward, optimizer, feeds, settings, rate)
            row = {"step": step + 1, "tokens": (step + 1) * settings.batch_tokens, "loss": None, "learning_rate": rate}
            unusable = 1.0 - (losses.isfinite() & norms.isfinite()).float()
            for measured, curve in zip(torch.stack([losses, norms, unusable], dim=1), curves, strict=True):
                curve.add({**row, "gradient_norm": None}, measured)
            if curves[0].waiting >= settings.log_every or step + 1 == settings.steps:
                for number, (member, curve) in enumerate(zip(members, curves, strict=True)):
                    for fetched in curve.fetch():
                        if fetched["skipped"]:
                            raise DivergedError(f"step {fetched['step']} of seed {member.seed}: not finite")
                        if progress is not None and number == 0:
                            progress(fetched)
            if step == 0:
                # The first step compiles.
                warm = time.perf_counter()
    timed = settings.steps - 1
    seconds = time.perf_counter() - warm
    together_rate = timed * settings.batch_tokens * len(members) / seconds if timed else None
    together = {
        "models": len(members),
        "seconds": round(time.perf_counter() - started, 3),
        "tokens_per_second_behind_the_first_step": together_rate and round(together_rate, 1),
        "mfu": together_rate and model_flop_utilisation(together_rate * flop, device),
        "attention": kernels,
    }
    return [
        _finish(stack, number, member, curve.last_loss, settings, tokenizer, together)
        for number, (member, curve) in enumerate(zip(members, curves, strict=True))
    ]


def _optimizer(stack: Stack, settings: TrainSettings) -> torch.optim.AdamW:
    """AdamW works number by number, so that on stacked weights it does what it would do on each."""
    groups: dict[bool, list[Tensor]] = {True: [], False: []}
    for name, value in stack.stacked.items():
        groups[decays(name, value[0])].append(value)
    decayed = {"params": groups[True], "weight_decay": settings.weight_decay}
    return torch.optim.AdamW(
        [decayed, {"params": groups[False], "weight_decay": 0.0}],
        lr=settings.learning_rate,
        betas=(settings.beta1, settings.second_beta),
        eps=settings.epsilon,
        fused=True,
    )


def _step(
    stack: Stack,
    forward: Any,
    optimizer: torch.optim.Optimizer,
    feeds: Sequence[Prefetch],
    settings: TrainSettings,
    rate: float,
) -> tuple[Tensor, Tensor]:
    """Losses and gradient norms [S] before the update."""
    batches = [feed.next() for feed in feeds]
    inputs, targets = torch.stack([b.inputs for b in batches]), torch.stack([b.targets for b in batches])
    losses = torch.zeros(len(feeds), device=inputs.device)
    for start in range(0, inputs.shape[1], settings.micro_batch_sequences):
        part = slice(start, start + settings.micro_batch_sequences)
        objectives, nats = forward(inputs[:, part], targets[:, part])
        torch.autograd.backward(objectives.sum() / settings.batch_tokens)
        losses += nats.detach() / settings.batch_tokens
    gradients = [value.grad for value in stack.stacked.values() if value.grad is not None]
    norms = torch.stack([torch.linalg.vector_norm(g.flatten(1), dim=1) for g in gradients]).square().sum(0).sqrt()
    # As torch.nn.utils.clip_grad_norm_ does it, for each model.
    shrink = (settings.max_gradient_norm / (norms + 1e-6)).clamp(max=1.0)
    for gradient in gradients:
        gradient.mul_(shrink.view(-1, *[1] * (gradient.ndim - 1)))
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return losses, norms


def _finish(
    stack: Stack,
    number: int,
    member: Member,
    loss: float,
    settings: TrainSettings,
    tokenizer: Tokenizer | None,
    together: dict[str, Any],
) -> dict[str, Any]:
    model = stack.member(number)
    export(model, member.out / "model", tokenizer=tokenizer, form=settings.export)
    tokens, epoch = settings.steps * settings.batch_tokens, member.shards.tokens + member.shards.documents
    results = {
        "finished": True,
        "steps": settings.steps,
        "tokens": tokens,
        "unique_tokens": min(tokens, epoch),
        "epochs": round(tokens / epoch, 4),
        "bytes": round(tokens / epoch * member.shards.bytes),
        "flop": stack.settings.flop_per_token(settings.sequence_length) * tokens,
        "parameters": count_parameters(model),
        "final_loss": loss,
        "data": {"fingerprint": member.shards.fingerprint},
        "settings": asdict(replace(settings, seed=member.seed)),
        "model": asdict(stack.settings),
        "together": together,
        "environment": environment(torch.device(settings.device), together["attention"], ranks=1),
        # This model's part of what all of them took.
        "speed": {"seconds": round(together["seconds"] / together["models"], 3)},
    }
    (member.out / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    return results
