"""The web page at `/`: files that lie beside this one, and are the same for everybody.

It needs no key, for nothing of a store stands in it: its scripts ask the routes under `/v1` like
any other client. What documents say is only ever put into it as text, and the policy below would
run nothing else.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from fastapi import APIRouter, Request
from starlette.responses import Response

from maccli.server.problems import RequestError

_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
    )
)
_KINDS = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
_FILES = {
    path.name: (path.read_bytes(), _KINDS[path.suffix])
    for path in sorted(Path(__file__).parent.iterdir())
    if path.suffix in _KINDS
}

router = APIRouter(include_in_schema=False)


@router.api_route("/", methods=["GET", "HEAD"])
async def page(request: Request) -> Response:
    """Return the page."""
    return _response("index.html", request)


@router.api_route("/page/{name}", methods=["GET", "HEAD"])
async def part(name: str, request: Request) -> Response:
    """Return a file that the page loads.

    Raises:
        RequestError: there is none of this name.
    """
    return _response(name, request)


def _response(name: str, request: Request) -> Response:
    """Return a file; without its content if the browser shows that it has the same."""
    if name not in _FILES:
        raise RequestError(404, "not_found", "The page has no such file.")
    content, kind = _FILES[name]
    tag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
    headers = {
        "ETag": tag,
        "Cache-Control": "no-cache",  # ask each time whether it has changed
        "Content-Security-Policy": _POLICY,
        "Referrer-Policy": "no-referrer",
    }
    if tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(content, headers=headers, media_type=kind)
