"""Model sizes with the training defaults that fit them.

`nano` to `mini` are for CPUs, `p26` to `p342` the ladder of proxies for GPUs; `demo` learns something from half a
million tokens in seconds, `tiny` is what the tests train.

Learning rates are half of OLMo-core's rule 0.0047 (N/108e6)^(-1/3), batches near its 2048 * 160 (N/108e6)^(2/3) tokens,
with N the parameters; both are taken over, not tuned here. Not so `demo`: with half a million tokens many small steps
count most. Bits per byte of held-out Python source after 350,000 tokens of pydoc text, vocabulary 2048, one seed each:
rate 5e-3 with steps of 4096 tokens 3.18, of 2048 3.04, of 1024 2.96; steps of 1024 at 3e-3 and 1e-2 2.96 and 3.05;
initial weights of 0.05 instead of 0.02 2.83.
"""

from dataclasses import dataclass

from train.model import ModelSettings, padded


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A shape without its vocabulary, and how to train it."""

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    ffn: int
    #: Tokens of context in training and evaluation.
    sequence_length: int
    #: Tokens per optimiser step.
    batch_tokens: int
    learning_rate: float
    initializer_range: float = 0.02

    def model(self, vocab_size: int) -> ModelSettings:
        """The model for a tokenizer of `vocab_size` entries (rounded up to a multiple of 64)."""
        return ModelSettings(
            vocab_size=padded(vocab_size),
            hidden_size=self.hidden,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            num_key_value_heads=self.kv_heads,
            head_dim=self.hidden // self.heads,
            intermediate_size=self.ffn,
            max_position_embeddings=self.sequence_length,
            initializer_range=self.initializer_range,
        )


PRESETS = {
    "tiny": Preset(
        layers=2, hidden=64, heads=2, kv_heads=1, ffn=192,
        sequence_length=64, batch_tokens=512, learning_rate=1e-2,
    ),
    "demo": Preset(
        layers=2, hidden=96, heads=3, kv_heads=3, ffn=256,
        sequence_length=128, batch_tokens=1024, learning_rate=5e-3, initializer_range=0.05,
    ),
    "nano": Preset(
        layers=4, hidden=128, heads=2, kv_heads=2, ffn=352,
        sequence_length=256, batch_tokens=16_384, learning_rate=1e-2,
    ),
    "micro": Preset(
        layers=6, hidden=192, heads=3, kv_heads=3, ffn=512,
        sequence_length=256, batch_tokens=32_768, learning_rate=7.7e-3,
    ),
    "mini": Preset(
        layers=8, hidden=320, heads=5, kv_heads=5, ffn=864,
        sequence_length=256, batch_tokens=65_536, learning_rate=5e-3,
    ),
    "p26": Preset(
        layers=8, hidden=384, heads=6, kv_heads=6, ffn=1024,
        sequence_length=1024, batch_tokens=131_072, learning_rate=3.7e-3,
    ),
    "p44": Preset(
        layers=8, hidden=512, heads=8, kv_heads=8, ffn=1536,
        sequence_length=1024, batch_tokens=196_608, learning_rate=3.2e-3,
    ),
    "p110": Preset(
        layers=12, hidden=768, heads=6, kv_heads=6, ffn=2048,
        sequence_length=2048, batch_tokens=327_680, learning_rate=2.3e-3,
    ),
    "p342": Preset(
        layers=24, hidden=1024, heads=8, kv_heads=4, ffn=2816,
        sequence_length=2048, batch_tokens=655_360, learning_rate=1.6e-3,
    ),
}  # fmt: skip


def preset(name: str) -> Preset:
    """Raises ValueError with the names that exist."""
    if name not in PRESETS:
        raise ValueError(f"there is no preset {name!r}; there are {', '.join(PRESETS)}")
    return PRESETS[name]
