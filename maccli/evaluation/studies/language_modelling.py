"""`mac study language-modelling`: perplexity of the later halves of articles.

The earlier half is given as nothing, as the constant prefix tokens alone, as modulations, as faint
ones, or as text; see `models.evaluation.perplexity`. Every article is a row a context, kept when it
was read; the rows without `at` sum them up.
"""

from __future__ import annotations

from maccli.errors import MacError
from maccli.evaluation.dataset import draw
from maccli.evaluation.evaluation import Evaluation
from maccli.evaluation.results import Results, Row
from models.data import files as data
from models.errors import DataError
from models.evaluation.perplexity import CONTEXTS, halves, perplexity, surprise
from models.stacks import as_latent


def run(evaluation: Evaluation) -> None:
    """Measure the articles that the results do not have yet.

    Args:
        evaluation: a checkpoint of the `latent` stack, with a plan whose data is one file of
            articles: JSON lines with `text` (or `doc`), and `doc_id` where there is one; its limit
            and seed draw from them.

    Raises:
        DataError: the file cannot be read, or no article has two sentences.
        MacError: the checkpoint is of another stack.
        WeightsError: the base weights cannot be downloaded or read.
    """
    plan, results = evaluation.plan, evaluation.results
    (file,) = plan.data
    articles = draw(list(data.documents(file)), plan.limit, plan.seed)
    if not articles:
        raise DataError(f"{file}: no articles", "a line needs text, and may have doc_id and title")
    model = as_latent(evaluation.model)
    if model is None:
        raise MacError("Language modelling is measured for checkpoints of the latent stack only.")
    known = {row.at for row in results.rows}
    todo = [(name, text) for name, text in articles if name not in known]
    with evaluation.bars(len(todo), "article", "language modelling") as progress:
        for name, text in todo:
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
