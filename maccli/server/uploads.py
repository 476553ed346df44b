"""The body of an upload, a file in a form or text in JSON, which stays in memory."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from typing import Any

import python_multipart  # noqa: F401  # Starlette's forms need it; so its absence is told of
from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect

from maccli import output
from maccli.reading.items import Piped
from maccli.server.problems import RequestError
from maccli.server.safety import MAX_UPLOAD
from maccli.server.shapes import Day, Tags, TextDocument, Words

_MAX_NAME = 500
_MAX_FIELDS = 110
_MAX_FIELD = 10_000
_SEPARATOR = re.compile(r"[/\\]")
_ABSOLUTE = re.compile(r"[/\\~]|[A-Za-z]:[/\\]")

FORM: dict[str, Any] = {
    "type": "object",
    "required": ["file"],
    "additionalProperties": False,
    "properties": {
        "file": {"type": "string", "format": "binary"},
        "name": {"type": "string", "description": "Instead of the file's name."},
        "tags": {"type": "array", "items": {"type": "string"}},
        "date": {"type": "string", "description": "YYYY-MM-DD."},
    },
}
"""The form's JSON schema, for the OpenAPI document."""


@dataclass(frozen=True, slots=True)
class Document:
    """A document that a client has sent.

    Attributes:
        name: its name in the store.
        content: its bytes, with the name of the file that they were.
        labels: its `tags` and `date`, as `Mac.ingest` takes them.
    """

    name: str
    content: Piped
    labels: dict[str, Any]


class _Fields(BaseModel):
    """The fields of a form besides the file."""

    model_config = ConfigDict(extra="forbid")

    name: Words | None = None
    tags: Tags = []
    date: Day | None = None


class _WholeForm(MultiPartParser):
    """Reads a form into memory, so that nothing is written outside the store.

    `Guard` limits its size. A form that ends early is no form: what was lost might have mattered.
    """

    spool_max_size = MAX_UPLOAD

    def __init__(self, request: Request) -> None:
        super().__init__(
            request.headers,
            self._to_its_end(request.stream()),
            max_files=1,
            max_fields=_MAX_FIELDS,
            max_part_size=_MAX_FIELD,
        )
        self._complete = False

    def on_end(self) -> None:
        """Note that the last boundary was there."""
        self._complete = True

    async def _to_its_end(self, stream: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
        async for part in stream:
            yield part
        if not self._complete:
            raise MultiPartException("The form is cut short.")


async def read(request: Request) -> Document:
    """Read the body of an upload.

    Raises:
        RequestError: it is neither a form with a file nor JSON with a text.
        RequestValidationError: a field is wrong.
        ClientDisconnect: the client went away.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/json":
        return _from_json(await request.body())
    if kind == "multipart/form-data":
        return await _from_form(request)
    message = "Send a form (multipart/form-data) with a file, or JSON with a text."
    raise RequestError(415, "wrong_media_type", message)


def _from_json(body: bytes) -> Document:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        raise RequestError(400, "invalid_request", "The body is not valid JSON.") from None
    sent = _validated(TextDocument, value)
    data = sent.text.encode()
    name = _checked(sent.name or f"text-{hashlib.sha256(data).hexdigest()[:12]}.txt")
    return Document(name, Piped(data, name), {"tags": sent.tags, "date": sent.date})


async def _from_form(request: Request) -> Document:
    try:
        form = await _WholeForm(request).parse()
    except (RequestError, ClientDisconnect):
        raise
    except Exception:  # the parser lets many kinds through, of a wrong charset for one
        message = "The form is not valid multipart/form-data with one file, or is cut short."
        raise RequestError(400, "invalid_request", message) from None
    try:
        return await _from_fields(form)
    finally:
        await form.close()


async def _from_fields(form: FormData) -> Document:
    values: dict[str, Any] = {}
    file: UploadFile | None = None
    for field, value in form.multi_items():
        if field == "file" and isinstance(value, UploadFile):
            file = value
        elif field == "tags":
            values.setdefault("tags", []).append(value)
        else:
            values[field] = value
    if file is None or not file.filename:
        raise RequestError(400, "invalid_request", "The form has no file in its field `file`.")
    fields = _validated(_Fields, values)
    filename = _checked(_SEPARATOR.split(file.filename)[-1])
    name = _checked(fields.name) if fields.name else filename
    content = Piped(await file.read(), filename)
    return Document(name, content, {"tags": fields.tags, "date": fields.date})


def _checked(name: str) -> str:
    """Return the name of a document without space around it.

    Raises:
        RequestError: it could pass for a file of this machine, or cannot be shown.
    """
    name = name.strip()
    if not name or len(name) > _MAX_NAME or output.escaped(name) != name:
        message = f"A name has 1 to {_MAX_NAME} characters, none of them for control."
        raise RequestError(400, "invalid_request", message)
    if _ABSOLUTE.match(name):
        message = "A name must not be an absolute path: so the server's own files are named."
        raise RequestError(400, "invalid_request", message)
    return name


def _validated(shape: type[Any], value: object) -> Any:
    try:
        return shape.model_validate(value)
    except ValidationError as error:
        errors = [{**each, "loc": ("body", *each["loc"])} for each in error.errors()]
        raise RequestValidationError(errors) from None
