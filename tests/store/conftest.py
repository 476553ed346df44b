import pytest

from tests.store import samples


@pytest.fixture
def path(tmp_path):
    return tmp_path / "bank"


@pytest.fixture
def store(path):
    with samples.create(path) as opened:
        yield opened


@pytest.fixture
def small_rows(monkeypatch):
    """Rows of four keys, folded away as soon as four of them are dead."""
    monkeypatch.setattr("store.index.keys._MIN_DEAD", 4)
    monkeypatch.setattr("store.index.keys.ROW", 4)
