"""The fixtures themselves: every tiny model loads from its folder and computes something finite."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.mark.parametrize(
    "name", ["tiny_llama", "tiny_qwen2", "tiny_gemma3", "tiny_gpt2", "tiny_t5", "tiny_encoder"]
)
def test_a_tiny_model_loads_and_runs(name: str, request: pytest.FixtureRequest) -> None:
    import torch
    import transformers

    folder: Path = request.getfixturevalue(name)
    kind = {"tiny_t5": "AutoModelForSeq2SeqLM", "tiny_encoder": "AutoModel"}
    model = getattr(transformers, kind.get(name, "AutoModelForCausalLM")).from_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    batch = tokenizer(["Who opened the bridge?", "Ida"], return_tensors="pt", padding=True)
    batch.pop("token_type_ids", None)
    if name == "tiny_t5":
        batch["decoder_input_ids"] = batch["input_ids"]
    out = model(**batch)
    values = out.last_hidden_state if name == "tiny_encoder" else out.logits
    assert torch.isfinite(values).all()
    if name != "tiny_encoder":
        assert tokenizer.decode(batch["input_ids"][0], skip_special_tokens=True) == (
            "Who opened the bridge?"
        )
