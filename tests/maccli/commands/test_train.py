"""What the options of `mac train` mean; the training itself is tested with `models`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from maccli.training import train as service
from maccli.training.train import Callbacks, Run
from models.data.files import DataSource
from models.training.settings import TrainConfig
from models.training.trainer import StepReport

from ..conftest import Ran

Mac = Callable[..., Ran]


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Run, TrainConfig]]:
    """What was to be trained."""
    runs: list[tuple[Run, TrainConfig]] = []

    def train(run: Run, config: TrainConfig, callbacks: Callbacks) -> Path:
        runs.append((run, config))
        for n in (1, 2):
            callbacks.report(StepReport(n, 1.0 / n, 0.5, 16 * n, 8.0, 1e-4, 2.0))
        return run.out

    monkeypatch.setattr(service, "train", train)
    return runs


def test_options_reach_the_trainer(mac: Mac, trained: list[tuple[Run, TrainConfig]]) -> None:
    ran = mac(
        *("train", "--data", "a.jsonl:2", "--data", "b.json", "--out", "made"),
        *("--steps", "7", "--batch", "12", "--documents", "4", "--lr", "0.001", "--seed", "3"),
        *("--rank", "64", "--device", "cpu", "--resume"),
    )
    assert (ran.code, ran.out) == (0, "made\n")
    run, config = trained[0]
    assert run.sources == [DataSource(Path("a.jsonl"), 2.0), DataSource(Path("b.json"), 1.0)]
    assert (run.rank, run.device, run.resume, run.out) == (64, "cpu", True, Path("made"))
    assert "mac model default made" in ran.err and "mac store rebuild -m made" in ran.err
    assert (config.steps, config.groups, config.documents, config.seed) == (7, 3, 4, 3)
    assert config.learning_rate == 0.001


def test_a_checkpoint_to_start_from_decides_the_sizes(
    mac: Mac, trained: list[tuple[Run, TrainConfig]]
) -> None:
    given = ("train", "--data", "a.jsonl", "--out", "made", "--from", "smollm2-135m")
    assert mac(*given).code == 0
    assert trained[0][0].start == "smollm2-135m"
    ran = mac(*given, "--rank", "64")
    assert ran.code == 2
    assert "--rank" in ran.err


def test_options_may_stand_in_a_file(
    mac: Mac, trained: list[tuple[Run, TrainConfig]], work: Path
) -> None:
    (work / "run.toml").write_text('data = ["a.jsonl", "b.jsonl:3"]\nout = "made"\nsteps = 9\n')
    assert mac("train", "--config", "run.toml", "--steps", "8").code == 0
    run, config = trained[0]
    assert [source.weight for source in run.sources] == [1.0, 3.0]
    assert config.steps == 8
    (work / "run.toml").write_text("stairs = 9\n")
    ran = mac("train", "--config", "run.toml")
    assert ran.code == 2
    assert "There is no option --stairs" in ran.err


def test_wrong_options(mac: Mac, trained: list[tuple[Run, TrainConfig]]) -> None:
    ran = mac("train", "--data", "a", "--out", "b", "--batch", "10", "--documents", "4")
    assert (ran.code, trained) == (2, [])
    assert "--batch 10 is not a multiple of --documents 4." in ran.err


def test_a_checkpoint_is_not_overwritten(mac: Mac, work: Path) -> None:
    (work / "made").mkdir()
    (work / "made" / "config.json").write_text("{}")
    ran = mac("train", "--data", "a.jsonl", "--out", "made")
    assert ran.code == 2
    assert ran.err.startswith("Error: There is a checkpoint in made already.\nHint: ")


def test_data_that_is_not_there(mac: Mac) -> None:
    ran = mac("train", "--data", "nowhere.jsonl", "--out", "made")
    assert ran.code == 1
    assert "nowhere.jsonl" in ran.err and len(ran.err.splitlines()) <= 2
