"""Options that several commands share, their completion, and the `Mac` that they choose.

Options for settings take their value from the flag, the environment, config.toml (Click's
`default_map`), in this order; None means none of them, and then the setting's default counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource
from click.shell_completion import CompletionItem

from maccli import config
from maccli.commands.groups import SettingOption
from maccli.errors import MacError
from maccli.output import Output

if TYPE_CHECKING:
    from maccli.api import Mac
    from maccli.server.sockets.client import ServedMac
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
        stores = ctx.params.get("stores") or [ctx.params.get("store")]
        return Store.open(config.folder("store", stores[0]))
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
    """Return a folder as an absolute path; an empty one is not the current folder."""
    if value == "":
        raise click.BadParameter("the path of a folder must not be empty.")
    return None if value is None else config.folder("store", value)


def _all_absolute(
    ctx: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> tuple[Path | str, ...]:
    """Return addresses as they are and folders as absolute paths, each once; see `_absolute`."""
    stores = (
        value if config.is_url(value) else _absolute(ctx, parameter, value) for value in values
    )
    return tuple(dict.fromkeys(store for store in stores if store))


def _tags(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    """Return tags as they are stored."""
    from store.labels import clean_tag

    try:
        return tuple(dict.fromkeys(clean_tag(value) for value in values))
    except ValueError as error:
        raise click.BadParameter(f"{error}.") from None


def _day(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    """Return a date after checking it; "" stays what it is."""
    from store.labels import check_date

    try:
        if value:
            check_date(value)
    except ValueError as error:
        raise click.BadParameter(f"{error}.") from None
    return value


def _bound(ctx: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """Return a date after checking it; None for ""."""
    return _day(ctx, parameter, value) or None


# options


def number(name: str, *names: str, least: int = 1, **more: Any) -> Decorator:
    """Return an option for a whole number from `least` on, as `click.option` would."""
    return click.option(name, *names, type=click.IntRange(min=least), metavar="N", **more)


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
    help="The store to use.  [default: see mac config show]",
)
stores_option = click.option(
    "--store",
    "stores",
    multiple=True,
    type=click.Path(file_okay=False),
    metavar="DIR|URL",
    callback=_all_absolute,
    help="The store to ask, or the address of the mac serve that has it; repeat it to ask several "
    "as one.  [default: see mac config show]",
)
model_option = setting(
    "model",
    "-m",
    "--model",
    metavar="MODEL",
    shell_complete=complete_checkpoints,
    help="A checkpoint's name or folder.  [default: see mac config show]",
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
local_option = click.option(
    "--local", is_flag=True, help="Load the model here, even if a running mac serve has it."
)
fast_option = click.option(
    "--fast", is_flag=True, help="Leave out the judge, which reads the passages: less time."
)
seed_option = click.option(
    "--seed", type=int, default=0, show_default=True, metavar="N", help="Random seed."
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
    help="Only documents with this tag; repeat it for any of several tags.",
)
since_option = click.option(
    "--since", metavar="YYYY-MM-DD", callback=_bound, help="Only documents from this day on."
)
until_option = click.option(
    "--until", metavar="YYYY-MM-DD", callback=_bound, help="Only documents up to this day."
)


only_options = apply(only_tag_option, since_option, until_option)
where_options = apply(store_option, model_option, device_option)
asking_options = apply(stores_option, model_option, device_option)


@contextmanager
def open_mac(
    out: Output,
    store: Path | str | None,
    model: str | None = None,
    device: str | None = None,
    *,
    also: Sequence[Path | str] = (),
) -> Iterator[Mac]:
    """Provide the `Mac` that flags and settings mean; downloads and waiting are shown by `out`.

    Raises:
        CheckpointError: there is no such model.
    """
    from maccli.api import Mac

    with (
        out.transfers() as transfer,
        Mac(store, model, also=also, device=device, tell=out.tell, transfer=transfer) as mac,
    ):
        yield mac


@contextmanager
def open_served_mac(
    out: Output,
    stores: Sequence[Path | str],
    model: str | None,
    device: str | None,
    *,
    local: bool,
    verbose: bool = False,
) -> Iterator[Mac | ServedMac]:
    """Provide the `Mac` that flags and settings mean, to be asked; a running server may answer.

    Args:
        out: shows what takes a while.
        stores: folders of stores, and addresses, asked as one; only for a single folder a server
            on this machine is asked.
        model: the checkpoint.
        device: where to compute; with --device no server is asked.
        local: ask no server.
        verbose: say so after each answer of a server.

    Raises:
        CheckpointError: there is no such model.
    """
    from maccli.server.sockets.client import ServedMac

    ctx = click.get_current_context()
    here = local or ctx.get_parameter_source("device") is ParameterSource.COMMANDLINE
    first = stores[0] if stores else None
    with open_mac(out, first, model, device, also=stores[1:]) as mac:
        told = partial(out.note, "Answered by the running mac serve.") if verbose else None
        yield mac if here or mac.asked != [mac.folder] else ServedMac(mac, told)
