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
def eager_compaction(monkeypatch):
    monkeypatch.setattr("store.keyblock._MIN_DEAD", 4)
