"""`mac study language-modelling`: perplexity of the later halves of articles.

The earlier half is given as nothing, as the constant prefix tokens alone, as modulations or as
text; see `models.evaluation.perplexity`. Every article is a row a context, kept when it was read;
the rows without `at` sum them up.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from maccli.errors import MacError
from maccli.evaluation.dataset import draw
from maccli.evaluation.results import Results, Row
from maccli.service.session import Session
from models.data import files as data
from models.errors import DataError
from models.evaluation.perplexity import CONTEXTS, halves, perplexity, surprise
from models.latent.memory import LatentMemory

if TYPE_CHECKING:
    from maccli.evaluation.evaluation import Bars

_LEAVE_NEWS = 60.0
"""Seconds between two lines of news where there is no progress bar."""


def run(
    session: Session,
    results: Results,
    file: Path,
    *,
    limit: int | None,
    seed: int,
    bars: Bars,
    note: Callable[[str], None],
) -> None:
    """Measure the articles that the results do not have yet.

    Args:
        session: with a checkpoint of the `latent` stack.
        results: the rows.
        file: JSON lines with `text` (or `doc`), and `doc_id` where there is one.
        limit: how many articles to draw at random; None takes all.
        seed: the random seed of the draw.
        bars: shows progress.
        note: tells the user something.

    Raises:
        DataError: the file cannot be read, or no article has two sentences.
        MacError: the checkpoint is of another stack.
        WeightsError: the base weights cannot be had.
    """
    articles = draw(list(data.documents(file)), limit, seed)
    if not articles:
        raise DataError(f"{file}: no articles", "a line needs text, and may have doc_id and title")
    model = session.model
    if not isinstance(model, LatentMemory):
        raise MacError("Language modelling is measured for checkpoints of the latent stack only.")
    known = {row.at for row in results.rows}
    todo = [(name, text) for name, text in articles if name not in known]
    begun = told = time.perf_counter()
    with bars(len(todo), "article", "language modelling") as progress:
        for number, (name, text) in enumerate(todo, start=1):
            cut = halves(text, model.count_tokens)
            measured = surprise(model, *cut) if cut else None
            if measured is not None:
                results.rows += [
                    Row(
                        context,
                        at=name,
                        costs={
                            "tokens": measured.tokens,
                            "nats": measured.nats[context],
                            "context_tokens": measured.context[context],
                        },
                    )
                    for context in CONTEXTS
                ]
                _sum_up(results)
            progress.advance(1)
            now = time.perf_counter()
            if now - told > _LEAVE_NEWS and number < len(todo):
                told = now
                left = (now - begun) / number * (len(todo) - number)
                note(f"{number:,} of {len(todo):,} articles; about {left / 60:.0f} min left")
    if not results.rows:
        raise DataError(f"{file}: no article has two sentences to cut it between")


def _sum_up(results: Results) -> None:
    """Write the rows over all articles so far, and keep everything."""
    for context in CONTEXTS:
        read = [row.costs for row in results.rows if row.method == context and row.at is not None]
        tokens, nats, before = (
            [costs[name] or 0 for costs in read] for name in ("tokens", "nats", "context_tokens")
        )
        total = sum(tokens)
        row = Row(
            context,
            questions=len(read),
            figures={"perplexity": list(perplexity(nats, [int(n) for n in tokens]))},
            costs={
                "tokens": total,
                "nats_a_token": sum(nats) / total,
                "context_tokens": sum(before) / len(read),
            },
        )
        results.rows = [known for known in results.rows if known.key != row.key] + [row]
    results.save()
