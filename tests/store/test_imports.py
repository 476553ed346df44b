import subprocess
import sys
from pathlib import Path

import pytest

from store import Store
from tests.store import samples
from tests.store.samples import put

ROOT = Path(__file__).parents[2]
FORBIDDEN = "{'torch', 'click', 'models', 'maccli', 'transformers'}"
HEAVY = "{'numpy', 'zstandard', 'constriction', 'sqlite_utils', 'usearch'}"


def run(code, *arguments):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_index_is_used_without_numpy(path):
    with samples.create(path) as store:
        for source in "ab":
            put(store, source, count=2)
    run(
        "import sys; from pathlib import Path; from store import Store\n"
        "with Store.open(Path(sys.argv[1])) as store:\n"
        "    a, b = store.documents()\n"
        "    assert len(store.chunks(a.id)) == 2 and store.search('chunk')\n"
        "    assert store.document('b') == b and store.stats().documents == 2\n"
        "    assert store.remove('a')\n"
        f"assert not {HEAVY} & set(sys.modules)\n",
        path,
    )
    with Store.open(path) as store:
        assert samples.verify(store) == {"b": 1}


def test_arrays_are_used_without_torch(path):
    run(
        "import sys; from pathlib import Path; from tests.store import samples\n"
        "with samples.create(Path(sys.argv[1])) as store:\n"
        "    samples.put(store, 'a', count=2)\n"
        "    samples.verify(store)\n"
        # sqlite-utils imports Click for a command line of its own.
        f"assert not {FORBIDDEN} - {{'click'}} & set(sys.modules)\n",
        path,
    )


@pytest.mark.parametrize("module", sorted(ROOT.glob("store/**/*.py")))
def test_every_module_is_imported_alone(module):
    name = ".".join(module.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    run(f"import sys, {name}\nassert not {FORBIDDEN} & set(sys.modules)\n")
