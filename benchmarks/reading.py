"""How fast files become text: MB a second for each file, as `mac ingest` reads them.

    python -m benchmarks.reading FILE...

Each file is read several times; the shortest time counts, in the process that reads it from the
second time on, so that what is measured is reading and not starting. Speed depends on how much of a
file is text: MB of text are shown beside MB of file.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from maccli.reading.encodings import Refused
from maccli.reading.loaders import load

REPEATS = 3


def main() -> None:
    """Read the files that are named on the command line, and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("files", nargs="+", type=Path)
    print(f"{'file':30} {'MB':>7} {'MB text':>8} {'seconds':>8} {'MB/s':>7} {'text MB/s':>10}")
    for path in parser.parse_args().files:
        size, best, text = path.stat().st_size / 1e6, float("inf"), ""
        try:
            for _ in range(REPEATS):
                begun = time.perf_counter()
                text = load(path).text
                best = min(best, time.perf_counter() - begun)
        except (Refused, OSError) as error:
            print(f"{path.name:30} {size:7.2f} {error}")
            continue
        said = len(text.encode()) / 1e6
        print(
            f"{path.name:30} {size:7.2f} {said:8.2f} {best:8.2f} {size / best:7.2f} "
            f"{said / best:10.2f}"
        )


if __name__ == "__main__":
    main()
