"""`mac model`: checkpoints, and the base models that they need."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from maccli import config
from maccli.commands import options, terms
from maccli.commands.groups import LazyGroup
from maccli.commands.train.options import base_model_option
from maccli.output import Output, size
from models.memory import checkpoint


@click.group(cls=LazyGroup)
def model() -> None:
    """Download, list, choose, convert and export models.

    A checkpoint is what mac train writes and -m names. It works with a base language model and a
    sentence encoder, which are downloaded once.

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
    metavar="DIR",
    help="Take the files from this folder.",
)
@terms.accept_option
@options.quiet_option
def pull(names: tuple[str, ...], folder: Path | None, accept: bool, quiet: bool) -> None:
    """Download base models into the cache.

    This is done once, and their SHA-256 is checked. Without NAMES these are all-minilm-l6-v2 and
    smollm2-135m-instruct, which the default checkpoint needs; gemma-3-270m has terms that you are
    asked to accept. Another name is one of the Hugging Face Hub (owner/name). mac ingest, ask,
    search and train download what they need by themselves.

    \b
    Examples:
      mac model pull
      mac model pull --from /media/stick/weights
      mac model pull gemma-3-270m
    """
    from models.weights.pinned import DEFAULT_ENCODER, DEFAULT_LM

    out = Output(quiet=quiet)
    for name in names or (DEFAULT_LM, DEFAULT_ENCODER):
        out.text(f"{name}  {terms.pull(out, name, accept, folder)}")


@model.command("ls")
@options.apply(options.json_option, options.nl_option)
def ls(as_json: bool, as_nl: bool) -> None:
    """List checkpoints and the base models in the cache.

    Checkpoints are the bundled ones and the default one.

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
@click.argument("name", required=False, shell_complete=options.complete_checkpoints)
@options.json_option
def show(name: str | None, as_json: bool) -> None:
    """Show what a checkpoint consists of and how it was trained.

    NAME is a checkpoint's name or folder. Without it, the default checkpoint is shown.

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
@click.argument("name", required=False, shell_complete=options.complete_checkpoints)
def path(name: str | None) -> None:
    """Print the folder of a checkpoint or of a base model.

    Without NAME, print the default checkpoint's folder.

    \b
    Examples:
      mac model path
      mac model path smollm2-135m-instruct
    """
    from models.weights.cache import installed

    base = {model.name: model.path for model in installed()}
    out = Output()
    if name in base:
        out.text(str(base[name]))
    else:
        out.text(str(checkpoint.find(config.text("model", name))))


@model.command("convert")
@click.argument(
    "file", metavar="FILE", type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    required=True,
    help="Folder of the new checkpoint.",
)
@base_model_option(
    "--base",
    required=True,
    help="The base model that the checkpoint was trained for.",
)
@base_model_option(
    "--encoder",
    help="The sentence encoder.  [default: the pinned one]",
)
@base_model_option(
    "--tokenizer",
    default="google-t5/t5-base",
    show_default=True,
    help="The model whose tokenizer its T5 networks use.",
)
@options.quiet_option
def convert(
    file: Path, out: Path, base: str, encoder: str | None, tokenizer: str, quiet: bool
) -> None:
    """Convert a checkpoint of the paper's published code.

    FILE was saved by the code of arXiv 2403.04317 and ends in .pt. The new checkpoint is of the
    paper stack.

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
@click.argument("name", required=False, shell_complete=options.complete_checkpoints)
@terms.accept_option
def default(name: str | None, accept: bool) -> None:
    """Print the default checkpoint, or make NAME the default.

    The default is written to config.toml; MAC_MODEL and -m take precedence over it. Weights that
    come under terms of their own are downloaded now, after you have accepted these.

    \b
    Examples:
      mac model default
      mac model default ./my-checkpoint
    """
    from models.weights.pinned import PINNED

    out = Output()
    if name is None:
        out.text(config.text("model"))
        return
    folder = checkpoint.find(name)
    base = str(checkpoint.read_config(folder).get("base_lm", ""))
    if base in PINNED and PINNED[base].terms:
        terms.pull(out, base, accept)
    chosen = name if folder.parent == checkpoint.SHIPPED else str(folder.absolute())
    config.write({"model": chosen})
    out.note(f"The default model is now {chosen}. It takes over a store with: mac store rebuild")
    now = config.resolve("model")
    if now.origin == "environment":
        out.warn(f"MAC_MODEL is set to {now.value} and takes precedence.")


@model.command("export")
@click.argument("question")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@options.apply(options.k_option, options.only_options, options.where_options)
@options.quiet_option
def export(
    question: str,
    folder: Path,
    store: Path | None,
    model: str | None,
    device: str | None,
    quiet: bool,
    **how: Any,
) -> None:
    """Write the modulation that answers QUESTION into DIR.

    DIR is a new folder, an adapter for the peft library. Loaded on the same base model, the adapter
    gives what `mac ask --free` answers with the same options. With a checkpoint of the latent
    stack, such as the bundled one, the modulation of one passage can be exported: -k 1.

    \b
    Example:
      mac model export -k 1 "Who won the sailing race?" who-won
    """
    out = Output(quiet=quiet)
    with options.open_mac(out, store, model, device) as mac:
        mac.export_adapter(question, folder, **how)
    out.text(str(folder))


def _checkpoints() -> list[dict[str, Any]]:
    chosen = config.text("model")
    folders = {folder.name: folder for folder in checkpoint.ls()}
    own = Path(os.path.expanduser(chosen))
    if chosen not in folders and (own / checkpoint.CONFIG).is_file():
        folders[chosen] = own
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
    from models.weights.cache import installed

    kinds = {"lm": "base model", "encoder": "sentence encoder"}
    return [
        {
            "name": base.name,
            "kind": kinds[base.kind],
            "default": False,
            "bytes": base.bytes,
            "path": str(base.path),
        }
        for base in installed()
    ]
