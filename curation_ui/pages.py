"""Pages and their files, read once at the start and served under the hash of them all."""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from pathlib import Path

import jinja2
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from curation_ui.access import Refused
from curation_ui.asking import person_of

FOLDER = Path(__file__).parent
TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml", ".txt": "text/plain"}
PAGES = ("review", "grid", "clusters", "map", "overview", "people")
_SMALL = 500
"""Bytes below which compressing gains nothing."""


@dataclass(frozen=True)
class StaticFile:
    """One file as it is sent."""

    data: bytes
    packed: bytes
    type: str


@dataclass(frozen=True)
class StaticFiles:
    """All files of the pages. ``digest`` changes when any of them does."""

    digest: str
    files: dict[str, StaticFile]


def read_static(folder: Path = FOLDER / "static") -> StaticFiles:
    """Files of known types under ``folder``; links are left out."""
    files, digest = {}, hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not path.is_file() or path.suffix not in TYPES:
            continue
        name, data = path.relative_to(folder).as_posix(), path.read_bytes()
        digest.update(f"{name} {len(data)} ".encode() + data)
        packed = gzip.compress(data, 9, mtime=0) if len(data) >= _SMALL else data
        files[name] = StaticFile(data, packed, TYPES[path.suffix])
    return StaticFiles(digest.hexdigest()[:16], files)


def read_templates() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )


async def static_file(request: Request) -> Response:
    static: StaticFiles = request.app.state.static
    found = static.files.get(request.path_params["name"])
    if found is None or request.path_params["digest"] != static.digest:
        raise Refused("there is no such file", 404)
    headers = {"cache-control": "public, max-age=31536000, immutable", "vary": "accept-encoding"}
    packed = "gzip" in request.headers.get("accept-encoding", "") and found.packed is not found.data
    if packed:
        headers["content-encoding"] = "gzip"
    return Response(found.packed if packed else found.data, media_type=found.type, headers=headers)


def _rendered(request: Request, page: str, role: str = "") -> Response:
    state = request.app.state
    template = state.templates.get_template(f"{page}.html")
    text = template.render(static=f"/static/{state.static.digest}", page=page, role=role)
    return Response(text, media_type="text/html")


async def enter_page(request: Request) -> Response:
    """Anyone may see it: it holds nothing. The token is behind the ``#`` and is not sent."""
    return _rendered(request, "enter")


async def page(request: Request) -> Response:
    name = request.url.path.strip("/")
    try:
        who = await person_of(request, "admin" if name == "people" else "annotator")
    except Refused as refused:
        if refused.status != 401:
            raise
        return RedirectResponse("/enter", 303)
    if f"{name}.html" not in request.app.state.templates.list_templates():
        raise Refused(f"there is no page {name} yet", 404)
    return _rendered(request, name, who.role)


async def home(request: Request) -> Response:
    return RedirectResponse("/review", 303)


async def icon(request: Request) -> Response:
    """Browsers ask for it by themselves."""
    return Response(status_code=204)


ROUTES = [
    Route("/", home),
    Route("/enter", enter_page),
    *(Route(f"/{name}", page) for name in PAGES),
    Route("/static/{digest}/{name:path}", static_file),
    Route("/favicon.ico", icon),
]
