from __future__ import annotations

from pathlib import Path

import pytest
import torch

from models.base.encoder import SentenceEncoder
from models.judge.config import JudgeConfig
from models.judge.judge import Judge
from models.judge.network import JudgeNetwork


@pytest.fixture
def encoder(tiny_encoder: Path) -> SentenceEncoder:
    return SentenceEncoder.load(tiny_encoder, device=torch.device("cpu"))


@pytest.fixture
def network(encoder: SentenceEncoder) -> JudgeNetwork:
    """An untrained one: what it says is arbitrary, but always the same."""
    torch.manual_seed(0)
    return JudgeNetwork(JudgeConfig("tiny", max_tokens=48), encoder)


@pytest.fixture
def judge(network: JudgeNetwork, encoder: SentenceEncoder) -> Judge:
    return Judge(network, encoder)
