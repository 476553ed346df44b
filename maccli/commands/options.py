"""Options that several commands share, and what they mean together with the settings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from maccli import config

if TYPE_CHECKING:
    from maccli.service.session import Place
    from store.bank import Store
    from store.labels import Within

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

store_option = click.option(
    "--store", "store_folder", metavar="DIR", help="The store to use, instead of $MAC_STORE."
)
model_option = click.option(
    "-m", "--model", metavar="MODEL", help="A checkpoint's name or folder, instead of $MAC_MODEL."
)
device_option = click.option(
    "--device", type=click.Choice(config.DEVICES), help="Where to compute.  [default: auto]"
)
json_option = click.option("--json", "as_json", is_flag=True, help="Write one JSON document.")
nl_option = click.option("--nl", "as_nl", is_flag=True, help="Write one JSON object a line.")
quiet_option = click.option("-q", "--quiet", is_flag=True, help="Write results and errors only.")


def _tags(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    """Return tags as they are stored."""
    from store.labels import clean_tag

    try:
        return tuple(dict.fromkeys(clean_tag(value) for value in values))
    except ValueError as error:
        raise click.BadParameter(f"{error}.") from None


def _day(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    """Check that a date, if there is one, is one."""
    from store.labels import check_date

    try:
        if value:
            check_date(value)
    except ValueError as error:
        raise click.BadParameter(f"{error}.") from None
    return value


tag_option = click.option(
    "--tag", "tags", metavar="TAG", multiple=True, callback=_tags, help="Give it this tag, too."
)
untag_option = click.option(
    "--untag", metavar="TAG", multiple=True, callback=_tags, help="Take this tag away."
)
date_option = click.option(
    "--date", "day", metavar="YYYY-MM-DD", callback=_day, help='Give it this date; "" for none.'
)
only_tag_option = click.option(
    "--tag",
    "tags",
    metavar="TAG",
    multiple=True,
    callback=_tags,
    help="Only documents with this tag, or with one of several.",
)
since_option = click.option(
    "--since", metavar="YYYY-MM-DD", callback=_day, help="Only documents of that day or later."
)
until_option = click.option(
    "--until", metavar="YYYY-MM-DD", callback=_day, help="Only documents of that day or earlier."
)


def within(tags: tuple[str, ...], since: str | None, until: str | None) -> Within:
    """Return which documents `--tag`, `--since` and `--until` choose together."""
    from store.labels import Within

    return Within(tags, since or None, until or None)


def apply(*options: Decorator) -> Decorator:
    """Return a decorator that adds several options, listed in this order in the help."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def place(store_folder: str | None, model: str | None, device: str | None) -> Place:
    """Return the store and the checkpoint that flags and settings mean together."""
    from maccli.service import session

    return session.place(
        config.folder("store", store_folder),
        config.text("model", model),
        device=config.text("device", device),
        store_named=config.resolve("store", store_folder).origin != "default",
    )


def open_store(store_folder: str | None) -> Store | None:
    """Open the store for a look or a removal; None if the default store is not there yet.

    Raises:
        StoreError: it cannot be used, or was named and is not there.
    """
    from store.bank import Store
    from store.errors import StoreNotFoundError

    found = config.resolve("store", store_folder)
    try:
        return Store.open(Path(str(found.value)).expanduser().absolute())
    except StoreNotFoundError:
        if found.origin == "default":
            return None
        raise
