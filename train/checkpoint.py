"""Checkpoints: all that a resumed run needs to continue as if nothing had happened.

    step-00000120/model.safetensors
                  optimizer.safetensors    moments and random states
                  state.json               step, position in the data, settings, sha256 of both

A checkpoint is written under another name, synced, and renamed; a folder that has its final name is whole.
"""

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from train.model import Transformer, state

MODEL, OPTIMIZER, STATE = "model.safetensors", "optimizer.safetensors", "state.json"


def save(
    folder: Path, *, step: int, model: Transformer, optimizer: torch.optim.Optimizer, extra: dict[str, Any], keep: int
) -> Path:
    """Write the checkpoint of `step` with the JSON values `extra`, then remove all but the `keep` newest ones."""
    folder.mkdir(parents=True, exist_ok=True)
    final = folder / f"step-{step:08d}"
    partial = folder / f".partial-{step:08d}-{os.getpid()}"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        _write(partial, step=step, model=model, optimizer=optimizer, extra=extra)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise OSError(f"{final} could not be written, the checkpoints before it are untouched: {error}") from error
    if final.exists():
        shutil.rmtree(final)
    partial.rename(final)
    _sync(folder)
    for old in _all(folder)[:-keep]:
        shutil.rmtree(old)
    return final


def _write(
    folder: Path, *, step: int, model: Transformer, optimizer: torch.optim.Optimizer, extra: dict[str, Any]
) -> None:
    save_file({name: value.contiguous() for name, value in state(model).items()}, folder / MODEL, {"format": "pt"})
    save_file(_optimizer_tensors(model, optimizer), folder / OPTIMIZER)
    hashes = {name: _sha256(folder / name) for name in (MODEL, OPTIMIZER)}
    (folder / STATE).write_text(json.dumps({"step": step, "sha256": hashes, **extra}, indent=1, sort_keys=True) + "\n")
    for path in (*folder.iterdir(), folder):
        _sync(path)


def latest(folder: Path) -> tuple[Path, dict[str, Any]] | None:
    """The newest checkpoint and its state.json, or None. Raises ValueError where its files are not what it states."""
    found = _all(folder)
    if not found:
        return None
    path = found[-1]
    try:
        stated: dict[str, Any] = json.loads((path / STATE).read_text())
        damaged = [name for name, sha256 in stated["sha256"].items() if _sha256(path / name) != sha256]
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"{path} is damaged ({error}): remove it to resume from the checkpoint before") from error
    if damaged:
        raise ValueError(f"{path} is damaged ({', '.join(damaged)}): remove it to resume from the checkpoint before")
    return path, stated


def restore(path: Path, *, model: Transformer, optimizer: torch.optim.Optimizer) -> None:
    """Put parameters, moments and random states back as they were."""
    device = next(model.parameters()).device
    model.load_state_dict(load_file(path / MODEL, device=str(device)))
    tensors = load_file(path / OPTIMIZER)
    torch.set_rng_state(tensors.pop("rng.cpu"))
    cuda = tensors.pop("rng.cuda", None)
    if cuda is not None and device.type == "cuda":
        torch.cuda.set_rng_state(cuda, device)
    # None where no step has been taken yet. The fused kernel wants the step count where the parameter is.
    parameters = dict(model.named_parameters())
    optimizer.state.clear()
    for key_name, value in tensors.items():
        key, _, name = key_name.partition("/")
        optimizer.state[parameters[name]][key] = value.to(device)


def _optimizer_tensors(model: Transformer, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    tensors = {"rng.cpu": torch.get_rng_state()}
    device = next(model.parameters()).device
    if device.type == "cuda":
        tensors["rng.cuda"] = torch.cuda.get_rng_state(device)
    for name, parameter in model.named_parameters():
        for key, value in optimizer.state.get(parameter, {}).items():
            tensors[f"{key}/{name}"] = value.contiguous()
    return tensors


def _all(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*")) if folder.is_dir() else []


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
