"""Options that several commands share, their completion, and how they find a store.

Options for settings take their value from the flag, the environment, config.toml (Click's
`default_map`), in this order; None means none of them, and then the setting's default counts.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from maccli import config
from maccli.commands.groups import SettingOption
from maccli.errors import MacError

if TYPE_CHECKING:
    from maccli.service.session import Place
    from store.labels import Within
    from store.store import Store

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

_MOST_COMPLETIONS = 200


def apply(*options: Decorator) -> Decorator:
    """Return a decorator that adds several options, listed in this order in the help."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


# completion


def _store_to_complete(ctx: click.Context) -> Store | None:
    """Open the store that a half-typed command line means; None if it cannot be used."""
    from store.errors import StoreError
    from store.store import Store

    try:
        return Store.open(config.folder("store", ctx.params.get("store")))
    except (MacError, StoreError, OSError):
        return None


def complete_documents(
    ctx: click.Context, _: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Return names of stored documents that begin with, or contain, what was typed."""
    from maccli.reading.files import displayed

    store = _store_to_complete(ctx)
    if store is None:
        return []
    with closing(store):
        matches = store.documents(match=incomplete or None, limit=_MOST_COMPLETIONS)
        names = sorted(displayed(document.source) for document in matches)
    # A shell can only complete what was typed already.
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


def complete_tags(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return tags of stored documents that begin with what was typed."""
    store = _store_to_complete(ctx)
    if store is None:
        return []
    with closing(store):
        tags = {tag for document in store.documents() for tag in document.tags}
    return [CompletionItem(tag) for tag in sorted(tags) if tag.startswith(incomplete)]


def complete_checkpoints(
    _: click.Context, __: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Return the bundled checkpoints that begin with what was typed, and folders."""
    names = [name for name in config.bundled_models() if name.startswith(incomplete)]
    return [*map(CompletionItem, names), CompletionItem(incomplete, type="dir")]


# values


def _absolute(_: click.Context, __: click.Parameter, value: str | None) -> Path | None:
    """Return a folder as an absolute path."""
    return None if value is None else Path(value).expanduser().absolute()


def _tags(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    """Return tags as they are stored."""
    from store.labels import clean_tag

    try:
        return tuple(dict.fromkeys(clean_tag(value) for value in values))
    except ValueError as error:
        raise click.BadParameter(f"{error}.") from None


def _day(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    """Return a date after checking it; "" is one, too."""
    from store.labels import check_date

    try:
        if value:
            check_date(value)
    except ValueError as error:
        raise click.BadParameter(f"{error}.") from None
    return value


# options


def setting(name: str, *flags: str, **more: Any) -> Decorator:
    """Return an option for the setting `name`, as `click.option` would; None if it is not set."""
    variable = config.SETTINGS[name].variable
    return click.option(*flags, name, cls=SettingOption, envvar=variable, **more)


store_option = setting(
    "store",
    "--store",
    type=click.Path(file_okay=False),
    metavar="DIR",
    callback=_absolute,
    help="The store to use.  [default: $MAC_STORE, or mac store path]",
)
model_option = setting(
    "model",
    "-m",
    "--model",
    metavar="MODEL",
    shell_complete=complete_checkpoints,
    help="A checkpoint's name or folder.  [default: $MAC_MODEL, or mac model default]",
)
device_option = setting(
    "device",
    "--device",
    type=click.Choice(config.DEVICES),
    help="Where to compute.  [default: auto]",
)
k_option = setting(
    "k",
    "-k",
    type=click.IntRange(min=1),
    metavar="N",
    help="How many passages to use.  [default: as trained]",
)
retriever_option = setting(
    "retriever",
    "--retriever",
    type=click.Choice(config.RETRIEVERS),
    help="How passages are found.  [default: hybrid]",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Write one JSON document.")
nl_option = click.option("--nl", "as_nl", is_flag=True, help="Write one JSON object a line.")
quiet_option = click.option("-q", "--quiet", is_flag=True, help="Write results and errors only.")
tag_option = click.option(
    "--tag",
    "tags",
    metavar="TAG",
    multiple=True,
    callback=_tags,
    shell_complete=complete_tags,
    help="Add this tag to the documents.",
)
untag_option = click.option(
    "--untag",
    metavar="TAG",
    multiple=True,
    callback=_tags,
    shell_complete=complete_tags,
    help="Remove this tag from the documents.",
)
date_option = click.option(
    "--date",
    "day",
    metavar="YYYY-MM-DD",
    callback=_day,
    help='Set the documents\' date; "" removes it.',
)
only_tag_option = click.option(
    "--tag",
    "tags",
    metavar="TAG",
    multiple=True,
    callback=_tags,
    shell_complete=complete_tags,
    help="Only documents with this tag; repeat it for any of several.",
)
since_option = click.option(
    "--since", metavar="YYYY-MM-DD", callback=_day, help="Only documents of this day or later."
)
until_option = click.option(
    "--until", metavar="YYYY-MM-DD", callback=_day, help="Only documents of this day or earlier."
)


def within(tags: tuple[str, ...], since: str | None, until: str | None) -> Within:
    """Return which documents `--tag`, `--since` and `--until` choose together."""
    from store.labels import Within

    return Within(tags, since or None, until or None)


# stores


def open_store(folder: Path | None) -> Store | None:
    """Open the store for a look or a removal; None if the default store is not there yet.

    Args:
        folder: what the user named; None means the default store.

    Raises:
        StoreError: it cannot be used, or was named and is not there.
    """
    from store.errors import StoreNotFoundError
    from store.store import Store

    try:
        return Store.open(config.folder("store", folder))
    except StoreNotFoundError:
        if folder is None:
            return None
        raise


def require_store(folder: Path | None) -> Store:
    """Open the store that flags and settings mean.

    Raises:
        MacError: the default store is not there yet.
        StoreError: it cannot be used, or was named and is not there.
    """
    store = open_store(folder)
    if store is None:
        path = config.folder("store", folder)
        raise MacError(f"There is no store in {path} yet.", "mac ingest FILES makes one.")
    return store


def place(store: Path | None, model: str | None, device: str | None) -> Place:
    """Return the store and the checkpoint that flags and settings mean together.

    Raises:
        CheckpointError: there is no such model.
    """
    from maccli.service import session

    return session.place(
        config.folder("store", store),
        config.text("model", model),
        device=config.text("device", device),
        store_named=store is not None,
    )
