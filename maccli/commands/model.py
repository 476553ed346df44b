"""`mac model`: the checkpoints, and the base models that they need."""

# ruff: noqa: D301 - click takes \b as the beginning of lines that are not wrapped
from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from maccli import config
from maccli.commands import options, train_options
from maccli.output import Output, size
from models.memory import checkpoint


@click.group()
def model() -> None:
    """Bring, list and choose models.

    A checkpoint is what `mac train` makes and -m names; it works on a base language model and a
    sentence encoder, which are brought once.

    \b
    Examples:
      mac model pull
      mac model ls
    """


@model.command("pull")
@click.argument("names", nargs=-1)
@click.option(
    "--from",
    "folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A folder that has the files already.",
)
@options.quiet_option
def pull(names: tuple[str, ...], folder: Path | None, quiet: bool) -> None:
    """Bring the base models into the cache, checked by their SHA-256; done once.

    NAMES default to those that the checkpoint in the box needs. `ingest`, `ask` and `train` do
    this by themselves.

    \b
    Examples:
      mac model pull
      mac model pull --from /media/stick/weights
    """
    from models.weights import resolve as weights

    out = Output(quiet=quiet)
    for name in names or (weights.DEFAULT_LM, weights.DEFAULT_ENCODER):
        with out.transfers() as transfer:
            path = weights.resolve(name, progress=transfer, local=folder)
        out.text(f"{name}  {path}")


@model.command("ls")
@options.apply(options.json_option, options.nl_option)
def ls(as_json: bool, as_nl: bool) -> None:
    """List the checkpoints in the box and the base models in the cache.

    \b
    Examples:
      mac model ls
      mac model ls --json
    """
    out = Output(json=as_json, nl=as_nl)
    rows = [*_checkpoints(), *_base_models()]
    if not out.human:
        out.records(rows)
        return
    out.table(
        [
            [
                row["name"] + (" (default)" if row["default"] else ""),
                row["kind"],
                size(row["bytes"]),
                row["path"],
            ]
            for row in rows
        ],
        ["name", "kind", "size", "path"],
    )


@model.command("show")
@click.argument("name", required=False)
@options.json_option
def show(name: str | None, as_json: bool) -> None:
    """Show what a checkpoint is made of and how it was trained.

    NAME is a checkpoint's name or folder; the default one if left out.

    \b
    Examples:
      mac model show
      mac model show ./my-checkpoint --json
    """
    out = Output(json=as_json)
    path = checkpoint.find(config.text("model", name))
    record = {
        "path": str(path),
        "fingerprint": checkpoint.fingerprint(path),
        **checkpoint.read_config(path),
    }
    if out.json:
        out.record(record)
        return
    training = record.pop("training", {})
    for key, value in record.items():
        if value is not None:
            out.text(f"{key:16} {value}")
    if isinstance(training, dict):
        for key, value in training.items():
            out.text(f"training.{key:16} {value}")


@model.command("path")
@click.argument("name", required=False)
def path(name: str | None) -> None:
    """Print the folder of a checkpoint or of a base model; the default checkpoint's if left out.

    \b
    Examples:
      mac model path
      mac model path smollm2-135m-instruct
    """
    from models.weights import resolve as weights

    base = {found.name: found.path for found in weights.installed()}
    out = Output()
    if name in base:
        out.text(str(base[name]))
    else:
        out.text(str(checkpoint.find(config.text("model", name))))


@model.command("convert")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="The folder of the new checkpoint.",
)
@train_options.base_model_option(
    "--base",
    required=True,
    help="The base model that it was trained for.",
)
@train_options.base_model_option(
    "--encoder",
    help="The sentence encoder.  [default: the pinned one]",
)
@train_options.base_model_option(
    "--tokenizer",
    default="google-t5/t5-base",
    show_default=True,
    help="Whose tokens its T5 reads.",
)
@options.quiet_option
def convert(
    file: Path, out: Path, base: str, encoder: str | None, tokenizer: str, quiet: bool
) -> None:
    """Make a checkpoint of the paper stack from FILE, one that the authors' code saved.

    That is the code published with arXiv 2403.04317; its files end in .pt.

    \b
    Examples:
      mac model convert best_f1.pt --base meta-llama/Llama-2-7b-hf --out llama-mac
      mac ask -m ./llama-mac "Who won?"
    """
    from maccli.training import convert as service
    from models.weights import pinned

    output = Output(quiet=quiet)
    with output.transfers() as transfer:
        folder = service.convert(
            file,
            out,
            base=base,
            encoder=encoder or pinned.DEFAULT_ENCODER,
            tokenizer=tokenizer,
            transfer=transfer,
        )
    output.text(str(folder))


@model.command("default")
@click.argument("name", required=False)
def default(name: str | None) -> None:
    """Print the default checkpoint, or make NAME the default (in config.toml).

    \b
    Examples:
      mac model default
      mac model default ./my-checkpoint
    """
    out = Output()
    if name is None:
        out.text(config.text("model"))
        return
    found = checkpoint.find(name)
    kept = name if found.parent == checkpoint.SHIPPED else str(found.absolute())
    config.write({"model": kept})
    out.note(f"The default model is now {kept}.")
    now = config.resolve("model")
    if now.origin == "environment":
        out.warn(f"MAC_MODEL is set to {now.value} and goes before it.")


def _checkpoints() -> list[dict[str, Any]]:
    chosen = config.text("model")
    folders = {
        folder.name: folder
        for folder in sorted(checkpoint.SHIPPED.glob("*"))
        if (folder / checkpoint.CONFIG).is_file()
    }
    if chosen not in folders and (Path(chosen) / checkpoint.CONFIG).is_file():
        folders[chosen] = Path(chosen)
    return [
        {
            "name": name,
            "kind": "checkpoint",
            "default": name == chosen,
            "bytes": sum(file.stat().st_size for file in folder.iterdir() if file.is_file()),
            "path": str(folder),
        }
        for name, folder in folders.items()
    ]


def _base_models() -> list[dict[str, Any]]:
    from models.weights import resolve as weights

    kinds = {"lm": "base model", "encoder": "sentence encoder"}
    return [
        {
            "name": found.name,
            "kind": kinds[found.kind],
            "default": False,
            "bytes": found.bytes,
            "path": str(found.path),
        }
        for found in weights.installed()
    ]
