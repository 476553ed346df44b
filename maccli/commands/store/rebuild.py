"""`mac store rebuild`: the store of another model.

It calls `maccli.service.rebuild` itself, which writes a second store beside the first.
"""

from __future__ import annotations

from pathlib import Path

import click

from maccli import errors
from maccli.commands import options
from maccli.output import Output, count


@click.command()
@click.option("--dry-run", is_flag=True, help="Show what would be done, and change nothing.")
@options.apply(options.where_options, options.quiet_option)
def rebuild(
    dry_run: bool, store: Path | None, model: str | None, device: str | None, quiet: bool
) -> None:
    """Amortize every document again with another model or encoder.

    Use it for a store that another model wrote, or after a change of the setting `encoder` (see mac
    config show). The texts come from the store. It takes as long as ingesting the documents did.
    After an interruption, run the same command again; until it is done the store stays as it was.
    Prunes do not survive: every chunk gets a modulation of its own again.

    \b
    Examples:
      mac store rebuild --dry-run
      mac store rebuild -m ./checkpoint
      MAC_ENCODER=intfloat/multilingual-e5-small mac store rebuild
    """
    from maccli.service import rebuild as service

    out = Output(quiet=quiet)
    with options.open_mac(out, store, model, device) as mac:
        mac.require_store()
        session = mac.session
        plan = service.plan(session)
        name = f"{session.choice.name} ({session.fingerprint})"
        if plan.stored == session.fingerprint:
            out.text(f"Nothing to do: {name} wrote the store.")
            if not dry_run and not service.clean(session):
                out.note("What another model's rebuild has done so far is kept beside it.")
            return
        if dry_run:
            documents = count(plan.left, "document")
            out.text(f"Would amortize {documents} of {plan.documents:,} again with {name}.")
            return
        with out.progress(plan.left, "doc", "rebuild") as progress:
            try:
                done = service.rebuild(session, progress)
            except KeyboardInterrupt:
                out.warn("interrupted; what is done is kept. Run the same command again to go on.")
                raise click.exceptions.Exit(errors.INTERRUPTED) from None
    out.text(f"{count(plan.documents, 'document')}, {done:,} amortized now with {name}.")
