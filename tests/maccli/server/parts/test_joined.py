"""Two stores here and two that are served answer like one: the tests of joined stores again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from store.joined import JoinedStores
from store.remote.store import RemoteStore
from tests.store import samples
from tests.store.test_joined import (  # noqa: F401  # collected here, with the banks below
    put,
    test_coverage_is_that_of_one_store,
    test_documents_are_counted_and_listed_as_one,
    test_no_more_than_wanted,
    test_rows_and_modulations_are_those_of_one_store,
    test_the_keys_that_may_be_nearest_come_with_their_chunks,
    test_words_count_as_in_one_store,
    texts,
)

from .conftest import serving


@pytest.fixture(scope="module")
def banks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """As in the tests of joined stores, with the second and third part on servers."""
    folder = tmp_path_factory.mktemp("parts")
    whole, a, b, c = (samples.create(folder / name) for name in ("whole", "a", "b", "c"))
    with whole, a, b, c, serving({"b": b.path}) as one, serving({"a": a.path, "c": c.path}) as two:
        for n, text in enumerate(texts()):
            put(whole, n, text)
            put(a if n < 20 else b if n < 25 else c, n, text)
        parts = [
            RemoteStore(url, key=None, fingerprint=whole.fingerprint) for url in (one, f"{two}/c")
        ]
        joined = JoinedStores([a, *parts])
        yield whole, joined
        joined.close()
