"""Reading recipes, and that the bundled one is what the bundled checkpoint was trained with."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from maccli.training import phases, recipe
from maccli.training.phases import Planned
from maccli.training.train import Callbacks
from models.data.files import parse_source
from models.memory import checkpoint
from models.weights import pinned

from ..conftest import Ran

Mac = Callable[..., Ran]

SMALL = """
rank = 16

[[phases]]
steps = 2
batch = 4
lr = 1e-3
data = ["facts:2", "rumours:0.5"]

[[phases]]
steps = 3
batch = 4
lr = 5e-4
limit = 9
continuation = 0
data = ["facts"]

[sources.facts]
about = "four facts"
licence = "CC0"
"""


@pytest.fixture
def planned(monkeypatch: pytest.MonkeyPatch) -> list[Planned]:
    """The phases that were to be trained."""
    seen: list[Planned] = []

    def train(planned: list[Planned], callbacks: Callbacks) -> Path:
        seen.extend(planned)
        return planned[-1][0].out

    monkeypatch.setattr(phases, "train", train)
    return seen


@pytest.fixture
def data(work: Path) -> Path:
    """A folder with an empty file for each source of the bundled recipe."""
    folder = work / "data"
    folder.mkdir()
    for name in recipe.read(checkpoint.DEFAULT).names():
        (folder / f"{name}.jsonl.zst").write_bytes(b"")
    return folder


def _runs(training: dict[str, Any] | None) -> list[dict[str, Any]]:
    """The runs that made a checkpoint, the first one first."""
    return [*_runs(training.get("from")), training] if training else []


def test_the_recipe_is_what_trained_the_bundled_checkpoint(
    mac: Mac, planned: list[Planned], data: Path
) -> None:
    name = checkpoint.DEFAULT
    ran = mac("train", "--recipe", name, "--data-folder", str(data), "--out", "made")
    assert ran.code == 0, ran.err
    assert (len(planned), sum(config.steps for _, config in planned)) == (3, 3440)
    made = _runs(checkpoint.read_config(checkpoint.find(name))["training"])
    assert len(made) >= 2
    for (run, config), was in zip(planned, made, strict=False):
        for setting, value in was.items():
            if hasattr(config, setting):
                assert getattr(config, setting) == value, setting
        words = shlex.split(was["command"])
        given = [parse_source(word) for at, word in pairwise(words)
                 if at == "--data"]  # fmt: skip
        assert [(s.path.name, s.weight) for s in run.sources] == [
            (s.path.name, s.weight) for s in given
        ]
    assert [run.rank for run, _ in planned] == [384] * 3
    assert [len(run.sources) for run, _ in planned] == [12, 12, 48]


def test_the_recipe_for_gemma_is_what_trained_its_checkpoint() -> None:
    name = "gemma-3-270m"
    known = recipe.read(name)
    [phase] = known.phases
    config = checkpoint.read_config(checkpoint.find(name))
    made = config["training"]
    assert (config["base_lm"], config["latent_size"]) == (known.base, known.rank)
    assert made["data"] == " ".join(f"{name}:{weight:g}" for name, weight in phase.data.items())
    assert made["groups"] * made["documents"] == phase.batch
    assert made["learning_rate"] == phase.lr
    for setting in ("steps", "limit", "continuation"):
        assert made[setting] == getattr(phase, setting), setting


def test_every_source_of_the_bundled_recipes_is_described() -> None:
    known = recipe.read(checkpoint.DEFAULT)
    assert set(known.names()) == set(known.sources)
    for other in recipe.known():
        assert set(recipe.read(other).names()) <= set(known.sources)
    for name, source in known.sources.items():
        assert source.about and source.licence, name


@pytest.mark.parametrize("own", [None, "gpt2"])
def test_a_recipe_may_name_its_base_model(
    mac: Mac, planned: list[Planned], data: Path, own: str | None
) -> None:
    options = ("--base", own) if own else ()
    ran = mac("train", "--recipe", "gemma-3-270m", "--data-folder", "data", "--out", "m", *options)
    assert ran.code == 0, ran.err
    assert [run.base_lm for run, _ in planned] == [own or "gemma-3-270m"]


def test_phases_are_chained(mac: Mac, planned: list[Planned], data: Path) -> None:
    ran = mac(
        *("train", "--recipe", "smollm2-135m", "--data-folder", str(data), "--out", "made"),
        *("--base", "me/other", "--seed", "7"),
    )
    assert (ran.code, ran.out) == (0, "made\n")
    runs = [run for run, _ in planned]
    assert [str(run.out) for run in runs] == ["made/phase-1", "made/phase-2", "made"]
    assert [run.start for run in runs] == [None, "made/phase-1", "made/phase-2"]
    assert {run.base_lm for run in runs} == {"me/other"} != {pinned.DEFAULT_LM}
    assert {config.seed for _, config in planned} == {7}
    assert runs[1].notes["recipe"] == "smollm2-135m, phase 2 of 3"
    assert runs[1].notes["data"].startswith("wiki2023-film:1 squadshifts-newwiki:2.5 tweetqa:2 ")
    assert "tweetqa: CC BY-SA 4.0; " in runs[1].notes["licences"]
    assert "left_out" not in runs[1].notes
    assert "mac model default made" in ran.err


def test_own_options_go_first(mac: Mac, planned: list[Planned], work: Path, data: Path) -> None:
    (work / "run.toml").write_text('lr = 0.5\nrecipe = "smollm2-135m"\n')
    ran = mac(
        *("train", "--config", "run.toml", "--data-folder", str(data), "--out", "made"),
        *("--batch", "8", "--steps", "5", "--rank", "64"),
    )
    assert ran.code == 0, ran.err
    for run, config in planned:
        assert (config.learning_rate, config.groups, config.steps, run.rank) == (0.5, 2, 5, 64)
    assert [config.limit for _, config in planned] == [1600, 4000, 300]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ("--recipe", "smollm3"),
            "'smollm3' is neither a recipe (gemma-3-270m, smollm2-135m) nor a TOML file.",
        ),
        (
            ("--recipe", "smollm2-135m", "--data", "a.jsonl"),
            "--data comes from the recipe; leave it out.",
        ),
        (
            ("--recipe", "smollm2-135m", "--from", "x"),
            "--from comes from the recipe; leave it out.",
        ),
        (
            ("--recipe", "smollm2-135m", "--stack", "paper"),
            "--stack comes from the recipe; leave it out.",
        ),
        (
            ("--recipe", "smollm2-135m", "--epochs", "2"),
            "--epochs comes from the recipe; leave it out.",
        ),
        (
            ("--recipe", "smollm2-135m", "--preset", "gpt2-xl"),
            "--preset goes without --recipe.",
        ),
        (("--recipe", "smollm2-135m", "--batch", "6"), "--batch 6 is not a multiple of"),
        (("--data", "a.jsonl", "--data-folder", "."), "--data-folder belongs to --recipe."),
        ((), "Missing option '--data' (or --recipe)."),
    ],
)
def test_what_does_not_go_together_is_refused(
    options: tuple[str, ...], message: str, mac: Mac, planned: list[Planned]
) -> None:
    ran = mac("train", "--out", "made", *options)
    assert (ran.code, planned) == (2, [])
    assert message in " ".join(ran.err.split())


def test_a_file_is_a_recipe(work: Path) -> None:
    (work / "small.toml").write_text(SMALL)
    small = recipe.read("small.toml")
    assert (small.name, small.rank) == ("small.toml", 16)
    assert small.names() == ["facts", "rumours"]
    assert small.phases[0].data == {"facts": 2.0, "rumours": 0.5}
    assert (small.phases[0].limit, small.phases[0].continuation) == (None, None)
    assert (small.phases[1].limit, small.phases[1].continuation) == (9, 0)
    assert small.source("facts").licence == "CC0"
    assert small.source("rumours").about == "not described"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("rank = 16", "rank = ", "small.toml: Invalid value"),
        ("rank = 16", 'rank = "big"', "rank must be of type int, not 'big'"),
        ("rank = 16", "ranks = 16", "there is no setting 'ranks'"),
        ("steps = 2", "steps = 0", "phase 1: steps must be above 0, not 0"),
        ("steps = 2", "steps = true", "phase 1: steps must be of type int, not True"),
        ("steps = 2\n", "", "phase 1: steps is missing"),
        ("facts:2", "facts:-2", "phase 1: facts:-2: the weight must be above 0"),
        ("facts:2", "../facts:2", "phase 1: '../facts' is not the name of a source"),
        ('data = ["facts"]', "data = []", "phase 2: data is missing"),
        ('licence = "CC0"', "", "source facts: licence is missing"),
        ('"facts:2"', '"facts:2", "facts:3"', "phase 1: data names a source twice"),
        ('licence = "CC0"', 'licence = "CC0"\nfiles = "*"', "source facts: hub is missing"),
        ('licence = "CC0"', 'licence = "CC0"\nhub = "me/x"', "source facts: files is missing"),
        (
            'licence = "CC0"',
            'licence = "CC0"\nhub = "me/x"\nfiles = "*"\nformat = "x"',
            "source facts: format must be one of squad,",
        ),
    ],
)
def test_a_recipe_that_is_wrong_says_where(
    old: str, new: str, message: str, mac: Mac, work: Path
) -> None:
    assert old in SMALL
    (work / "small.toml").write_text(SMALL.replace(old, new, 1))
    ran = mac("train", "--recipe", "small.toml", "--out", "made")
    assert ran.code == 2
    assert message in " ".join(ran.err.split())


def test_a_recipe_without_phases(mac: Mac, work: Path) -> None:
    (work / "small.toml").write_text("rank = 16\n")
    ran = mac("train", "--recipe", "small.toml", "--out", "made")
    assert (ran.code, "phases is missing" in ran.err) == (2, True)
