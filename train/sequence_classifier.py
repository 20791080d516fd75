"""Hugging Face sequence classifiers: a folder of config, weights and tokenizer, asked for the probabilities of labels.

It answers as a fastText model does (`get_labels`, `predict`), so a stage need not know which of the two it asks. A
line's answer does not depend on the lines beside it: lines are brought to a few fixed lengths, and every batch has the
same number of rows, so that the same kernels run in the same order for each.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError

try:
    import transformers
except ModuleNotFoundError as error:
    raise ValueError(
        "a model named hf:FOLDER needs the package transformers: pip install 'tamis[classifiers]'"
    ) from error

#: Lines in one batch, filled up where there are fewer.
BATCH_ROWS = 32
#: Lengths in tokens that lines are padded to, up to what the model can read; longer lines are cut at the last.
LENGTHS = (32, 128, 512, 2048, 8192)
#: As fastText's labels begin, so that settings name both kinds alike.
LABEL_PREFIX = "__label__"


class SequenceClassifier:
    """A classifier on the first GPU if there is one, else on the CPU, in 32-bit floats."""

    def __init__(self, folder: Path) -> None:
        """ValueError, naming the folder, where it holds no sequence classifier with safetensors weights."""
        try:
            # No code from the folder is run, and nothing is fetched.
            self._model = transformers.AutoModelForSequenceClassification.from_pretrained(
                str(folder), local_files_only=True, trust_remote_code=False, use_safetensors=True, dtype=torch.float32
            )
            self._tokenizer = transformers.AutoTokenizer.from_pretrained(
                str(folder), local_files_only=True, trust_remote_code=False
            )
        except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
            raise ValueError(f"{folder}: no sequence classifier that transformers can open: {error}") from error
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._model.to(self._device).eval()
        if self._tokenizer.pad_token_id is None:
            self._tokenizer.pad_token = self._tokenizer.eos_token
            self._model.config.pad_token_id = self._tokenizer.pad_token_id
        names = self._model.config.id2label
        self._labels = [LABEL_PREFIX + "_".join(str(names[place]).split()) for place in range(len(names))]
        most = min(
            self._tokenizer.model_max_length, getattr(self._model.config, "max_position_embeddings", LENGTHS[-1])
        )
        self._lengths = [*(length for length in LENGTHS if length < most), min(most, LENGTHS[-1])]

    def get_labels(self) -> list[str]:
        """The model's labels, in its own order."""
        return list(self._labels)

    def predict(self, lines: Sequence[str], k: int) -> tuple[list[list[str]], list[np.ndarray]]:
        """For each line its `k` likeliest labels and their probabilities (float64), best first."""
        encoded = [self._tokenizer(line, truncation=True, max_length=self._lengths[-1])["input_ids"] for line in lines]
        groups: dict[int, list[int]] = {}
        for place, tokens in enumerate(encoded):
            length = next(length for length in self._lengths if len(tokens) <= length)
            groups.setdefault(length, []).append(place)
        probabilities = np.zeros((len(lines), len(self._labels)))
        for length, places in sorted(groups.items()):
            for start in range(0, len(places), BATCH_ROWS):
                batch = places[start : start + BATCH_ROWS]
                probabilities[batch] = self._batch([encoded[place] for place in batch], length)[: len(batch)]
        order = np.argsort(-probabilities, axis=1, kind="stable")[:, :k]
        labels = [[self._labels[label] for label in row] for row in order.tolist()]
        return labels, [probabilities[place][row] for place, row in enumerate(order)]

    @torch.inference_mode()
    def _batch(self, tokens: Sequence[Sequence[int]], length: int) -> np.ndarray:
        """float64[BATCH_ROWS, labels]; rows behind those given are of padding with one token seen."""
        ids = torch.full((BATCH_ROWS, length), int(self._tokenizer.pad_token_id))
        mask = torch.zeros((BATCH_ROWS, length), dtype=torch.int64)
        mask[:, 0] = 1
        for row, line in enumerate(tokens):
            ids[row, : len(line)] = torch.tensor(line)
            mask[row, : len(line)] = 1
        logits = self._model(input_ids=ids.to(self._device), attention_mask=mask.to(self._device)).logits
        found: np.ndarray = logits.float().softmax(dim=-1).double().cpu().numpy()
        return found
