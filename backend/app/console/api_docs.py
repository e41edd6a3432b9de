"""The browsable page of the API at /docs: our own page around Swagger UI, which `make setup` takes from npm.

Nothing is loaded from another host and no script stands inside the page, so the policy that it is sent with can forbid
both. Files carry a digest of all of them in their address: they may be cached for ever, and a new release is a new
address.
"""

import gzip
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import structlog
from litestar import MediaType, Request, Response, Router, get
from litestar.params import FromPath

from backend.app.domain.errors import NotFound

log = structlog.get_logger()

STATIC: Final = Path(__file__).parent / "static"
SWAGGER_UI: Final = Path(__file__).parent / "assets" / "node_modules" / "swagger-ui-dist"
FILES: Final[Mapping[str, tuple[Path, str]]] = {
    "swagger-ui.css": (SWAGGER_UI, "text/css; charset=utf-8"),
    "swagger-ui-bundle.js": (SWAGGER_UI, "text/javascript; charset=utf-8"),
    "api_docs.css": (STATIC, "text/css; charset=utf-8"),
    "api_docs.js": (STATIC, "text/javascript; charset=utf-8"),
}

CONTENT_SECURITY_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        # Swagger UI's style sheet draws its icons from data: addresses.
        "img-src 'self' data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
PAGE_HEADERS: Final = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Cache-Control": "no-cache",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
ASSET_HEADERS: Final = {
    "Cache-Control": "public, max-age=31536000, immutable",
    "Vary": "Accept-Encoding",
    "X-Content-Type-Options": "nosniff",
}


class AssetNotFound(NotFound):
    """404: no file of this name, or of another release's digest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assets:
    """Every file of the page in memory, plain and compressed, under one digest."""

    digest: str
    plain: Mapping[str, bytes]
    compressed: Mapping[str, bytes]


def find_assets() -> Assets | None:
    """The files of the page, or None while some are not installed; looked for again until all are there."""
    try:
        return _load()
    except FileNotFoundError as error:
        log.warning("api_docs.asset_missing", file=str(error.filename))
        return None


@cache
def _load() -> Assets:
    plain = {name: (folder / name).read_bytes() for name, (folder, _) in FILES.items()}
    return Assets(
        digest=hashlib.sha256(b"\0".join(plain.values())).hexdigest()[:16],
        plain=plain,
        compressed={name: gzip.compress(content, compresslevel=6, mtime=0) for name, content in plain.items()},
    )


@get("/", media_type=MediaType.HTML, sync_to_thread=True)
def get_page() -> Response[bytes]:
    """The page; 503 with the command that helps while its scripts are not installed."""
    assets = find_assets()
    if assets is None:
        content = (STATIC / "api_docs_missing.html").read_bytes()
        return Response(content, status_code=HTTPStatus.SERVICE_UNAVAILABLE, headers=PAGE_HEADERS)
    content = (STATIC / "api_docs.html").read_bytes().replace(b"{digest}", assets.digest.encode())
    return Response(content, headers=PAGE_HEADERS)


@get("/assets/{digest:str}/{name:str}", sync_to_thread=True)
def get_asset(request: Request[Any, Any, Any], digest: FromPath[str], name: FromPath[str]) -> Response[bytes]:
    """One file of the page. Raises AssetNotFound."""
    assets = find_assets()
    if assets is None or digest != assets.digest or name not in assets.plain:
        raise AssetNotFound
    _, media_type = FILES[name]
    if "gzip" in request.headers.get("accept-encoding", ""):
        headers = ASSET_HEADERS | {"Content-Encoding": "gzip"}
        return Response(assets.compressed[name], media_type=media_type, headers=headers)
    return Response(assets.plain[name], media_type=media_type, headers=ASSET_HEADERS)


router: Final = Router("/docs", route_handlers=[get_page, get_asset], include_in_schema=False)
