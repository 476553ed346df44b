"""The key file held against the chunks whose keys it should have."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from store.keyblock import KeyBlock

_KEYS = 4096


class KeyCheck:
    """The key file's rows, compared with the chunks that are handed in, ids growing."""

    def __init__(self, key_block: KeyBlock) -> None:
        self._rows = self._read(key_block)
        self._damage: str | None = None
        self._strays = self._missing = self._wrong = 0
        self._next = self._take()

    def close(self) -> None:
        """Read no further."""
        self._rows.close()

    def compare(self, chunk_id: int, key: NDArray[np.float16] | None) -> None:
        """Compare the key of the next chunk; None if it is not known."""
        while self._next is not None and self._next[0] < chunk_id:
            self._strays += 1
            self._next = self._take()
        if self._next is None or self._next[0] > chunk_id:
            # One whose modulation cannot be read is in no key file that was rebuilt.
            self._missing += key is not None
            return
        if key is not None and self._next[1].tobytes() != key.tobytes():
            self._wrong += 1
        self._next = self._take()

    def problems(self) -> Iterator[str]:
        """What is wrong with the keys, after the last chunk."""
        while self._next is not None:
            self._strays += 1
            self._next = self._take()
        if self._damage:
            yield f"The key file is damaged: {self._damage}"
            return
        for number, what in (
            (self._missing, "lacks the keys of {} chunks"),
            (self._strays, "holds {} keys of chunks that are not in the store"),
            (self._wrong, "holds {} keys that are not those of their chunks"),
        ):
            if number:
                yield f"The key file {what.format(f'{number:,}')}"

    def _take(self) -> tuple[int, NDArray[np.float16]] | None:
        from store.keys import DamagedKeysError

        try:
            return next(self._rows, None)
        except DamagedKeysError as error:
            self._damage = str(error)
            return None

    @staticmethod
    def _read(key_block: KeyBlock) -> Any:
        for ids, keys in key_block.in_file(_KEYS):
            yield from zip(ids.tolist(), keys, strict=True)
