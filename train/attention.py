"""What a position may look at, and which kernel computes it.

Without a window or document mask attention is causal and runs in PyTorch's fused kernels, whose choice is pinned and
recorded. With one of them it is FlexAttention, which skips the blocks that are masked, in compiled code on a GPU, and a
dense mask elsewhere.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

AttentionKernel = Literal["auto", "cudnn", "flash", "efficient", "math"]
#: In order of preference. cuDNN's kernel is the fastest one on Hopper; `auto` lets PyTorch fall back to flash where it
#: has no cuDNN kernel for the shape, and never to one that holds all scores, which would be slow without a word.
KERNELS: dict[AttentionKernel, list[SDPBackend]] = {
    "auto": [SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION],
    "cudnn": [SDPBackend.CUDNN_ATTENTION],
    "flash": [SDPBackend.FLASH_ATTENTION],
    "efficient": [SDPBackend.EFFICIENT_ATTENTION],
    "math": [SDPBackend.MATH],
}

Mask = Tensor | BlockMask


@contextmanager
def pinned(kernel: AttentionKernel, device: torch.device) -> Iterator[list[str]]:
    """Within, attention on a GPU uses these kernels only; gives their names. A CPU has one, which is left alone."""
    if device.type != "cuda":
        yield ["cpu"]
        return
    with sdpa_kernel(KERNELS[kernel], set_priority=True):
        yield [backend.name for backend in KERNELS[kernel]]


def mask(t: int, *, window: int | None, documents: Tensor | None, device: torch.device) -> Mask | None:
    """Who may look at whom among `t` positions: None is causal, all that came before.

    A position sees at most `window` positions, itself included, and only those with its own number in `documents`
    [B, T]. A dense mask is bool [1 or B, 1, T, T], true where it may look.
    """
    if window is None and documents is None:
        return None
    if device.type == "cuda" and torch.compiler.is_compiling():
        return _block_mask(t, window, documents, device)
    position = torch.arange(t, device=device)
    distance = position.unsqueeze(1) - position
    allowed = (distance >= 0) & (distance < (window or t))
    if documents is None:
        return allowed.view(1, 1, t, t)
    return (allowed & (documents.unsqueeze(2) == documents.unsqueeze(1))).unsqueeze(1)


def _block_mask(t: int, window: int | None, documents: Tensor | None, device: torch.device) -> BlockMask:
    def allowed(b: Tensor, _head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        found = (query >= key) & (query - key < (window or t))
        return found if documents is None else found & (documents[b, query] == documents[b, key])

    return create_block_mask(allowed, len(documents) if documents is not None else None, None, t, t, device=device.type)


def attend(q: Tensor, k: Tensor, v: Tensor, *, mask: Mask | None, grouped: bool) -> Tensor:
    """Attention of queries [B, H, T, E] over keys and values [B, K, S, E]; `grouped`: K is smaller than H."""
    if isinstance(mask, BlockMask):
        flex: Any = flex_attention
        found: Tensor = flex(q, k, v, block_mask=mask, enable_gqa=grouped)
        return found
    # One new position sees all of the past, so it needs no mask.
    causal = mask is None and q.shape[2] > 1
    return functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal, enable_gqa=grouped)
