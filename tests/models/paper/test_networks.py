"""The amortizers: against transformers' own models, whatever the padding, for each kind."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer, T5Model

from models.base.encoder import SentenceEncoder
from models.base.lm import BaseLM
from models.errors import CheckpointError, WeightsError
from models.paper.config import AMORTIZERS, PaperConfig
from models.paper.networks import T5, Inputs, build, take_pretrained
from models.paper.reading import Reader, StateReader, TokenReader, collate
from models.paper.stack import Amortizer

MakeConfig = Callable[..., PaperConfig]
TEXTS = [
    "The mayor cut the ribbon.",
    "Heavy rain closed the northern road for 3 days; no one was hurt. Who opened the bridge?",
    "Who?",
]


@pytest.fixture(params=AMORTIZERS)
def config(request: pytest.FixtureRequest, make_config: MakeConfig) -> PaperConfig:
    return make_config(request.param)


@pytest.fixture
def reader(config: PaperConfig, lm: BaseLM, encoder: SentenceEncoder) -> Reader:
    if config.amortizer == "encoder":
        return StateReader(encoder)
    return TokenReader(lm.tokenizer, lm.device)


@pytest.fixture
def amortizer(config: PaperConfig) -> Amortizer:
    torch.manual_seed(0)
    made = Amortizer(config)
    for parameter in made.network.parameters():
        if parameter.dim() > 1:  # 0.02 would leave such small layers deaf to their input
            torch.nn.init.normal_(parameter, std=0.2)
    return made


def test_a_text_does_not_depend_on_its_company(amortizer: Amortizer, reader: Reader) -> None:
    with torch.no_grad():
        together = amortizer(collate(reader.read(TEXTS)))
        alone = [amortizer(collate(reader.read([text]))) for text in TEXTS]
    assert together.shape == (3, 4, 72)
    torch.testing.assert_close(together, torch.cat(alone), atol=2e-5, rtol=1e-4)
    assert (together[0] - together[1]).abs().max() > 1e-3
    assert (together[0, 0] - together[0, 1]).abs().max() > 1e-3


def test_every_weight_learns(amortizer: Amortizer, reader: Reader) -> None:
    amortizer(collate(reader.read(TEXTS))).square().sum().backward()
    deaf = {n for n, p in amortizer.named_parameters() if p.grad is None or not p.grad.any()}
    assert deaf == set()


def test_runs_repeat_and_training_draws_nothing(amortizer: Amortizer, reader: Reader) -> None:
    inputs = collate(reader.read(TEXTS))
    amortizer.train()
    torch.testing.assert_close(amortizer(inputs), amortizer(inputs), atol=0, rtol=0)


def test_no_kind_of_causal_model_keeps_its_dropout(make_config: MakeConfig) -> None:
    sizes = {"vocab_size": 32, "hidden_size": 16, "num_layers": 1, "num_heads": 2}
    kind = {"model_type": "gpt_neo", "attention_types": [[["global"], 1]]}
    settings = {**sizes, **kind, "resid_dropout": 0.5}
    network = build(make_config("decoder-only", network=settings)).train()
    rows = Inputs(torch.arange(8)[None], torch.ones(1, 8, dtype=torch.bool))
    torch.testing.assert_close(network(rows), network(rows), atol=0, rtol=0)


def test_it_is_saved_once(amortizer: Amortizer) -> None:
    tensors = list(amortizer.state_dict().values())
    assert len({t.data_ptr() for t in tensors}) == len(tensors)


def test_t5_reads_as_transformers_does(tiny_t5: Path, make_config: MakeConfig) -> None:
    model = T5Model.from_pretrained(tiny_t5).eval()
    config = make_config("t5", network={**model.config.to_dict(), "model_type": "t5"})
    network = build(config).eval()
    assert isinstance(network, T5)
    take_pretrained(network, tiny_t5)
    rows = TokenReader(AutoTokenizer.from_pretrained(tiny_t5), torch.device("cpu")).read(TEXTS)
    with torch.no_grad():
        found = network(collate(rows))
        for row, ours in zip(rows, found, strict=True):
            expected = model(
                input_ids=row[None], decoder_inputs_embeds=network.prompts[None]
            ).last_hidden_state[0]
            torch.testing.assert_close(ours, expected, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", ["t5-encoder", "decoder-only"])
def test_pretrained_weights_are_taken(
    kind: str, tiny_t5: Path, tiny_gpt2: Path, make_config: MakeConfig
) -> None:
    from transformers import AutoConfig

    folder = tiny_t5 if kind == "t5-encoder" else tiny_gpt2
    network = build(make_config(kind, network=AutoConfig.from_pretrained(folder).to_dict()))
    before: Any = network.state_dict()
    before = {name: tensor.clone() for name, tensor in before.items()}
    take_pretrained(network, folder)
    changed = {n for n, t in network.state_dict().items() if not torch.equal(t, before[n])}
    norms = {n for n in before if "norm" in n or "ln_" in n or n.endswith("bias")}
    assert set(before) - changed - norms == {"prompts"}


def test_a_pretrained_model_of_another_shape_is_refused(
    tiny_t5: Path, tmp_path: Path, make_config: MakeConfig
) -> None:
    with pytest.raises(CheckpointError, match="another shape"):
        take_pretrained(build(make_config("t5")), tiny_t5)
    with pytest.raises(WeightsError, match="no readable model"):
        take_pretrained(build(make_config("t5")), tmp_path)
    with pytest.raises(WeightsError, match="no readable tokenizer"):
        TokenReader.load(tmp_path, torch.device("cpu"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"amortizer": "magic"}, "unknown amortizer 'magic'; one of t5, "),
        ({"group": 1}, "group must be at least 2, not 1"),
        ({"tokens": 9}, "tokens must be at most 8, not 9"),
        ({"heads": 0}, "heads must be at least 1, not 0"),
        ({"modulation": "magic"}, "unknown modulation 'magic'"),
    ],
)
def test_configs_are_checked(
    changes: dict[str, Any], message: str, make_config: MakeConfig
) -> None:
    with pytest.raises(CheckpointError, match=message):
        PaperConfig(**{**make_config().as_dict(), **changes})


def test_a_network_that_cannot_be_built_is_named(make_config: MakeConfig) -> None:
    for kind, settings in (("encoder", {}), ("decoder-only", {"model_type": "magic"})):
        with pytest.raises(CheckpointError, match=f"amortizer '{kind}' cannot be built"):
            build(make_config(kind, network=settings))
