"""Tiny configs of the paper's stack, one for each amortizer."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from models.paper.config import PaperConfig

CPU = torch.device("cpu")
NETWORKS: dict[str, dict[str, Any]] = {
    "t5": {
        "model_type": "t5",
        **{"vocab_size": 384, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_heads": 4},
        **{"num_layers": 2, "num_decoder_layers": 2, "decoder_start_token_id": 0},
    },
    "decoder-only": {
        "model_type": "gpt2",
        **{"vocab_size": 384, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256},
    },
    "encoder": {"hidden_size": 32},
}
NETWORKS["t5-encoder"] = NETWORKS["t5"]

MakeConfig = Callable[..., PaperConfig]


@pytest.fixture
def make_config(tiny_llama: Path, tiny_encoder: Path) -> MakeConfig:
    def make(amortizer: str = "t5", **changes: Any) -> PaperConfig:
        settings: dict[str, Any] = {
            **{"base_lm": str(tiny_llama), "base_sha256": None},
            **{"encoder": str(tiny_encoder), "encoder_sha256": None},
            **{"layers": 2, "kv_heads": 3, "head_size": 8, "hidden_size": 72, "key_size": 32},
            **{"amortizer": amortizer, "network": NETWORKS[amortizer], "tokens": 4},
            **{"blocks": 2, "heads": 2, "attention_size": 8, "head_hidden": 32},
            **{"chunk_tokens": 64, "group": 3},
        }
        return PaperConfig(**{**settings, **changes})

    return make
