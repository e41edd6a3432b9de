"""The browsable page of the API at /docs: our own page around Swagger UI, which `make setup` takes from npm.

Nothing is loaded from another host and no script stands inside the page, so the policy that it is sent with can forbid
both.
"""

from http import HTTPStatus
from typing import Any, Final

from litestar import MediaType, Request, Response, Router, get
from litestar.params import FromPath

from backend.app.console.bundle import NODE_MODULES, SCRIPT, STATIC, STYLE, Bundle

SWAGGER_UI: Final = NODE_MODULES / "swagger-ui-dist"
BUNDLE: Final = Bundle(
    "api_docs",
    {
        "swagger-ui.css": (SWAGGER_UI, STYLE),
        "swagger-ui-bundle.js": (SWAGGER_UI, SCRIPT),
        "api_docs.css": (STATIC, STYLE),
        "api_docs.js": (STATIC, SCRIPT),
    },
)

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


@get("/", media_type=MediaType.HTML, sync_to_thread=True)
def get_page() -> Response[bytes]:
    """The page; 503 with the command that helps while its scripts are not installed."""
    assets = BUNDLE.find()
    if assets is None:
        content = (STATIC / "api_docs_missing.html").read_bytes()
        return Response(content, status_code=HTTPStatus.SERVICE_UNAVAILABLE, headers=PAGE_HEADERS)
    content = (STATIC / "api_docs.html").read_bytes().replace(b"{digest}", assets.digest.encode())
    return Response(content, headers=PAGE_HEADERS)


@get("/assets/{digest:str}/{name:str}", sync_to_thread=True)
def get_asset(request: Request[Any, Any, Any], digest: FromPath[str], name: FromPath[str]) -> Response[bytes]:
    """One file of the page. Raises AssetNotFound."""
    return BUNDLE.answer(request, digest=digest, name=name)


router: Final = Router("/docs", route_handlers=[get_page, get_asset], include_in_schema=False)
