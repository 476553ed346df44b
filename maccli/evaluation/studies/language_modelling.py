"""`mac eval --language-modelling`: perplexity of the later halves of articles.

The earlier half is given as nothing, as the constant prefix tokens alone, as modulations or as
text; see `models.evaluation.perplexity`. Every article is kept in the results as soon as it is read.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from maccli.errors import MacError
from maccli.evaluation.plan import Bars
from maccli.evaluation.results import Results
from maccli.service.session import Session
from models.data import files as data
from models.errors import DataError
from models.evaluation.perplexity import CONTEXTS, halves, perplexity, surprise
from models.latent.memory import Memory

KIND = "language-modelling"
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
        results: whose settings are of this kind.
        file: JSON lines with `text` (or `doc`), and `doc_id` where there is one.
        limit: how many articles, drawn at random; all if None.
        seed: of the draw.
        bars: shows progress.
        note: tells news.

    Raises:
        DataError: the file cannot be read, or no article has two sentences.
        MacError: the checkpoint is of another stack.
        WeightsError: the base weights cannot be had.
    """
    articles = list(dict(data.documents(file)).items())
    if not articles:
        raise DataError(f"{file}: no articles", "a line needs text, and may have doc_id and title")
    if limit is not None and limit < len(articles):
        articles = random.Random(seed).sample(articles, limit)
    memory = cast("Memory", session.memory)
    if not isinstance(memory, Memory):
        raise MacError("Language modelling is measured for checkpoints of the latent stack only.")
    kept: dict[str, Any] = results.data.setdefault(KIND, {"articles": [], "skipped": []})
    known = {one["id"] for one in kept["articles"]} | set(kept["skipped"])
    todo = [(name, text) for name, text in articles if name not in known]
    begun = told = time.perf_counter()
    with bars(len(todo), "article", "language modelling") as progress:
        for number, (name, text) in enumerate(todo, start=1):
            cut = halves(text, memory.count_tokens)
            measured = surprise(memory, *cut) if cut else None
            if measured is None:
                kept["skipped"].append(name)
            else:
                kept["articles"].append(
                    {
                        "id": name,
                        "tokens": measured.tokens,
                        "chunks": measured.chunks,
                        "nats": measured.nats,
                        "context": measured.context,
                    }
                )
            _sum_up(results)
            progress.advance(1)
            now = time.perf_counter()
            if now - told > _LEAVE_NEWS and number < len(todo):
                told = now
                left = (now - begun) / number * (len(todo) - number)
                note(f"{number:,} of {len(todo):,} articles; about {left / 60:.0f} min left")
    if not kept["articles"]:
        raise DataError(f"{file}: no article has two sentences to cut it between")


def _sum_up(results: Results) -> None:
    """Write the rows anew, over all articles so far, and keep them."""
    articles = results.data[KIND]["articles"]
    if not articles:
        return
    tokens = [one["tokens"] for one in articles]
    results.rows.clear()
    for context in CONTEXTS:
        nats = [one["nats"][context] for one in articles]
        value, low, high = perplexity(nats, tokens)
        results.rows.append(
            {
                "context": context,
                "articles": len(articles),
                "tokens": sum(tokens),
                "perplexity": value,
                "perplexity_interval": [low, high],
                "nats_a_token": sum(nats) / sum(tokens),
                "context_tokens": sum(one["context"][context] for one in articles) / len(articles),
            }
        )
    results.save()
