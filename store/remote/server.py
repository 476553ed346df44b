"""What is sent to a `mac serve` on another machine, and what it answers."""

from __future__ import annotations

import base64
import http.client
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode, urlsplit

from store.errors import StoreError, StoreNotFoundError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SECONDS = 60.0
_MOST_BYTES = 1 << 28
_AGAIN = (ConnectionError, http.client.BadStatusLine)
"""What a connection ends with that the server has closed, because nothing was asked for a while."""


def to_text(array: NDArray[Any]) -> str:
    """Return an array's numbers, little-endian, as base64."""
    return base64.b64encode(array.astype(array.dtype.newbyteorder("<")).tobytes()).decode()


def from_text(text: str, kind: str, *shape: int) -> NDArray[Any]:
    """Return the array of a NumPy type such as "<f4" that `to_text` has made base64 of.

    Raises:
        ValueError: it is no base64, does not fill the shape, or holds what is no finite number.
    """
    import numpy as np

    array = np.frombuffer(base64.b64decode(text, validate=True), kind).reshape(shape)
    if not np.isfinite(array).all():
        raise ValueError("all numbers must be finite")
    return array.astype(array.dtype.newbyteorder("="))


class Server:
    """A connection to a `mac serve`, kept open between requests. It is of one thread at a time."""

    def __init__(self, url: str, key: str | None) -> None:
        self._url = url
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise StoreError(f"{url} is no address: {error}") from None
        name = parts.path.strip("/")
        if not parts.hostname or parts.username or parts.query or parts.fragment or "/" in name:
            raise StoreError(
                f"{url} is no address of a server's store",
                hint="It is http://HOST:PORT, or http://HOST:PORT/NAME for a store by its name.",
            )
        secure = parts.scheme.lower() == "https"
        kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        self._connection = kind(parts.hostname, port, timeout=_SECONDS)
        self._store = {"store": name} if name else {}
        self._headers = {"Content-Type": "application/json"}
        if key:
            self._headers["Authorization"] = f"Bearer {key}"

    def close(self) -> None:
        """Close the connection; it is made again if it is needed."""
        self._connection.close()

    def get(self, path: str, **wanted: object) -> dict[str, Any]:
        """Return what a route answers; values that are None are not sent."""
        query = {**self._store, **{k: v for k, v in wanted.items() if v not in (None, ())}}
        return self._answer("GET", f"{path}?{urlencode(query, doseq=True, quote_via=quote)}")

    def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Return what a route answers to some JSON."""
        return self._answer("POST", f"{path}?{urlencode(self._store, quote_via=quote)}", body)

    @contextmanager
    def reading_answer(self) -> Iterator[None]:
        """Turn what an answer of the wrong form raises, while it is read, into a `StoreError`."""
        try:
            yield
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise self.unexpected() from error

    def unexpected(self) -> StoreError:
        """Return the error for an answer that no `mac serve` gives."""
        return StoreError(
            f"{self._url} does not answer as mac serve does",
            hint="The program there may be another one, or of another version.",
        )

    def _answer(
        self, method: str, path: str, body: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        data = None if body is None else json.dumps(body)
        try:
            try:
                status, content = self._sent(method, path, data)
            except _AGAIN:
                self._connection.close()
                status, content = self._sent(method, path, data)
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise StoreError(
                f"{self._url} does not answer: {getattr(error, 'strerror', None) or error}",
                hint="Is this the address, and is `mac serve` running there?",
            ) from error
        answer: Any = None
        with suppress(ValueError):
            answer = json.loads(content)
        if not isinstance(answer, dict):
            raise self.unexpected()
        if status != http.client.OK:
            raise self._refused(status, answer)
        return answer

    def _sent(self, method: str, path: str, data: str | None) -> tuple[int, bytes]:
        self._connection.request(method, path, data, self._headers)
        response = self._connection.getresponse()
        content = response.read(_MOST_BYTES + 1)
        if len(content) > _MOST_BYTES:
            raise http.client.HTTPException(f"more than {_MOST_BYTES:,} bytes")
        return response.status, content

    def _refused(self, status: int, answer: Mapping[str, Any]) -> StoreError:
        if status == http.client.UNAUTHORIZED:
            return StoreError(
                f"{self._url} wants to see its key",
                hint="Put it into MAC_SERVER_KEY, or those of several servers into "
                'MAC_SERVER_KEYS: "URL=KEY URL=KEY".',
            )
        try:
            message, code = str(answer["error"]["message"]), answer["error"]["code"]
        except (KeyError, TypeError):
            return self.unexpected()
        kind = StoreNotFoundError if code == "no_store" else StoreError
        return kind(f"{self._url}: {message.removesuffix('.')}")
