"""Exported models beside the installed transformers: the largest difference of a logit, in float32.

    python -m benchmarks.export_check          from the root; exit code 1 where one is above 1e-5

Needs torch, numpy, pyarrow, tokenizers, safetensors and transformers only, so that it runs in an environment of its own
for each version of transformers:

    python3.11 -m venv tf457 && tf457/bin/pip install -c constraints.txt torch
    tf457/bin/pip install 'transformers==4.57.*' tokenizers numpy safetensors pyarrow
    tf457/bin/python -m benchmarks.export_check

Weights are random and large (standard deviation 0.1, gains of norms within 0.5 and 1.5), so that logits are spread and
every part of the model shows in them.
"""

import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import transformers

from tokenizer.bpe import BPESettings, learn, load
from train.export import export
from train.generate import SampleSettings, generate
from train.latent import LatentSettings
from train.mixture import MixtureSettings
from train.model import ModelSettings, Transformer, new_model

MOST = 1e-5
#: Entries of the tokenizer; the model has 320 rows, of which generation never takes the last ones.
WORDS = 270
BASE = ModelSettings(
    vocab_size=320, hidden_size=128, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2, head_dim=32,
    intermediate_size=352, max_position_embeddings=128, initializer_range=0.1,
)  # fmt: skip
LATENT: dict[str, Any] = {
    "latent": LatentSettings(kv_rank=48, nope_dim=32, rope_dim=16, value_dim=32),
    "num_key_value_heads": 4,
    "head_dim": 16,
}
CASES: dict[str, dict[str, Any]] = {
    "Qwen3, tied": {},
    "Qwen3, untied": {"tie_word_embeddings": False},
    "Llama, tied": {"qk_norm": False},
    "Llama, untied": {"qk_norm": False, "tie_word_embeddings": False},
    "Qwen3, window of 16": {"sliding_window": 16},
    "mixture: Qwen3-MoE": {"mixture": MixtureSettings(experts=8, active=2, ffn=96)},
    "latent attention: DeepSeek-V3": LATENT,
}


def random_model(settings: ModelSettings) -> Transformer:
    model = new_model(settings, seed=0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.uniform_(0.5, 1.5, generator=generator)
    return model


def compared(settings: ModelSettings, folder: Path) -> tuple[float, float, bool]:
    """Largest difference of a logit, standard deviation of the logits, and whether greedy texts agree."""
    tokenizer = load(learn(["Take one down, pass it around. "] * 50, BPESettings(vocab_size=WORDS)))
    model = random_model(settings)
    export(model, folder, tokenizer=tokenizer)
    theirs, report = transformers.AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    if report["missing_keys"] or report["unexpected_keys"]:
        raise SystemExit(f"{folder}: {report}")
    theirs = theirs.eval()
    ids = torch.randint(0, WORDS, (4, 100), generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        ours = model.logits(model.hidden(ids))
        largest = (theirs(ids).logits - ours).abs().max().item()
    words = transformers.AutoTokenizer.from_pretrained(folder)
    prompt = torch.tensor([[tokenizer.end_of_text_id, *words("Take one")["input_ids"]]])
    whole = theirs.generate(
        prompt,
        attention_mask=torch.ones_like(prompt),
        max_new_tokens=20,
        do_sample=False,
        pad_token_id=0,
        suppress_tokens=list(range(WORDS, BASE.vocab_size)),
    )
    text = words.decode(whole[0, prompt.shape[1] :], skip_special_tokens=True)
    mine = generate(model, "Take one", SampleSettings(temperature=0.0, max_new_tokens=20), tokenizer=tokenizer)
    return largest, ours.std().item(), text == mine


def main() -> int:
    print(f"transformers {transformers.__version__}, torch {torch.__version__}")
    print("| shape | largest difference of a logit | standard deviation of the logits | same greedy text |")
    print("|---|---|---|---|")
    worst = 0.0
    for name, changes in CASES.items():
        with tempfile.TemporaryDirectory() as folder:
            largest, spread, same = compared(replace(BASE, **changes), Path(folder))
        worst = max(worst, largest if same else 1.0)
        print(f"| {name} | {largest:.1e} | {spread:.2f} | {'yes' if same else 'no'} |", flush=True)
    return int(worst > MOST)


if __name__ == "__main__":
    sys.exit(main())
