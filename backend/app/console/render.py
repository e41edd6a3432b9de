"""Turns values into pages: the templates, what they may ask for, and the headers that every page is sent with.

Everything is escaped where it is put into a page, whoever wrote it; there is no way around it in the templates.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from litestar import MediaType, Request, Response
from litestar.datastructures import Cookie
from litestar.response import Stream

from backend.app.console import cookies, figures, navigation, text, told, visit
from backend.app.console.access import Page, may
from backend.app.console.bundle import NODE_MODULES, SCRIPT, STATIC, STYLE, Bundle
from backend.app.domain.csv_cells import file_name
from backend.app.domain.people.console_session import ConsoleSession, form_token

AnyRequest = Request[Any, Any, Any]

TEMPLATES: Final = Path(__file__).parent / "templates"
BUNDLE: Final = Bundle(
    "console",
    {
        "tabler.min.css": (NODE_MODULES / "@tabler" / "core" / "dist" / "css", STYLE),
        "console.css": (STATIC, STYLE),
        "theme.js": (STATIC, SCRIPT),
        "htmx.min.js": (NODE_MODULES / "htmx.org" / "dist", SCRIPT),
        "console.js": (STATIC, SCRIPT),
        "echarts.common.min.js": (NODE_MODULES / "echarts" / "dist", SCRIPT),
        "charts.js": (STATIC, SCRIPT),
    },
)
# htmx without what the policy forbids anyway, and without copies of pages in the browser's storage.
HTMX_CONFIG: Final = (
    '{"includeIndicatorStyles": false, "allowEval": false, "allowScriptTags": false, "selfRequestsOnly": true, '
    '"historyEnabled": false, "historyCacheSize": 0}'
)
CONTENT_SECURITY_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        # Tabler's style sheet draws its check marks from data: addresses.
        "img-src 'self' data:",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
PAGE_HEADERS: Final = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    # What a page shows is for the one who is signed in, and for now.
    "Cache-Control": "no-store",
    # Not no-referrer: browsers then send forms with an Origin that says nothing.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class View:
    """What a template may ask: texts, figures, and what its reader may do. One for each page that is made."""

    def __init__(
        self, request: AnyRequest, *, session: ConsoleSession | None, secret: str, digest: str, now: datetime
    ) -> None:
        self.session = session
        self.admin = None if session is None else session.admin
        self.language = cookies.language_of(request)
        self.theme = cookies.theme_of(request)
        self.now = now
        self.path = request.url.path
        self.address = self.path + (f"?{request.url.query}" if request.url.query else "")
        self.form_token = form_token(secret)
        self.form_field = visit.FORM_FIELD
        self.assets = f"/console/assets/{digest}"
        self.htmx_config = HTMX_CONFIG
        self.languages = text.LANGUAGES
        self.themes = cookies.THEMES

    def t(self, key: str, **gaps: object) -> str:
        """A text of the catalogue."""
        return text.text(self.language, key, **gaps)

    def count(self, key: str, number: int, **gaps: object) -> str:
        """A text about so many, `<key>.one` or `<key>.other`; the number stands in the gap `count`."""
        form = "one" if number == 1 else "other"
        return self.t(f"{key}.{form}", count=self.integer(number), **gaps)

    def code(self, family: str, code: object) -> str:
        """The text of a code, `<family>.<code>`; the code itself when it has none, as with a provider's own."""
        return text.code(self.language, family, code)

    def told(self, detail: str) -> Sequence[told.Said]:
        """A stored detail, part by part, in the reader's language or as a quotation."""
        return told.told(detail, language=self.language)

    def sentence(self, words: str) -> str:
        """Words as a sentence of its own, in the reader's language."""
        first = "İ" if self.language == "tr" and words.startswith("i") else words[:1].upper()
        return f"{first}{words[1:]}."

    def may(self, page: str) -> bool:
        """Whether the reader may see, or do, what a page stands for."""
        return self.admin is not None and may(self.admin.role, Page(page))

    def navigation(self) -> list[navigation.Item]:
        """Where the reader can go."""
        return [item for item in navigation.ITEMS if self.may(item.page)]

    def is_here(self, path: str) -> bool:
        """Whether the page belongs to an entry of the navigation."""
        return self.path == path or (path != "/console" and self.path.startswith(f"{path}/"))

    def amount(self, amount_minor: int, currency: str) -> str:
        """Minor units in major units, without the currency."""
        return figures.amount(int(amount_minor), currency=currency, language=self.language)

    def signed(self, amount_minor: int, currency: str) -> str:
        """Minor units that were added or taken away."""
        return figures.signed_amount(int(amount_minor), currency=currency, language=self.language)

    def integer(self, number: int) -> str:
        """A count."""
        return figures.integer(int(number), language=self.language)

    def minute(self, moment: datetime) -> str:
        """A time to the minute, UTC."""
        return figures.minute(moment, language=self.language)

    def exact(self, moment: datetime) -> str:
        """A time to the millisecond, UTC."""
        return figures.exact(moment, language=self.language)

    def age(self, moment: datetime) -> str:
        """How long ago."""
        return figures.age(moment, now=self.now, language=self.language)


async def show(
    request: AnyRequest,
    template: str,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    **values: object,
) -> Response[str]:
    """A whole page. What the session had to say is said by it."""
    session = visit.session_of(request)
    response = part(request, template, status=status, headers=headers, **values)
    if session is not None and session.flash is not None:
        await request.app.state.console_sessions.forget_flash(session)
    return response


def part(
    request: AnyRequest,
    template: str,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    **values: object,
) -> Response[str]:
    """A part of a page, or a page that leaves the session's message for the next."""
    session = visit.session_of(request)
    made: list[Cookie] = []
    if session is not None:
        secret = session.token
    else:
        secret = cookies.read_secret(request, cookies.FORM) or visit.new_form_secret()
        made.append(cookies.secret_cookie(request, cookies.FORM, secret))
    assets = BUNDLE.find()
    digest = "missing" if assets is None else assets.digest
    view = View(request, session=session, secret=secret, digest=digest, now=datetime.now(UTC))
    content = ENVIRONMENT.get_template(template).render(v=view, t=view.t, **values)
    return Response(
        content,
        status_code=status,
        media_type=MediaType.HTML,
        headers={**PAGE_HEADERS, **(headers or {})},
        cookies=made,
    )


def redirect(request: AnyRequest, path: str, *, cookies_: tuple[Cookie, ...] = ()) -> Response[bytes]:
    """Go on to another page of ours, with GET; also where a part of a page was asked for."""
    headers = {"Location": path, **PAGE_HEADERS}
    status = 303
    if request.headers.get("hx-request") == "true":
        # A redirect would be followed for the part alone.
        del headers["Location"]
        headers["HX-Redirect"] = path
        status = 204
    return Response(b"", status_code=status, headers=headers, cookies=list(cookies_), media_type=MediaType.HTML)


ENVIRONMENT: Final = Environment(
    loader=FileSystemLoader(TEMPLATES),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    auto_reload=False,
)


def download(noun: str, lines: AsyncIterator[bytes]) -> Stream:
    """CSV as it is written, under a name that says what it is and of when."""
    disposition = f'attachment; filename="{file_name(noun, datetime.now(UTC))}"'
    return Stream(lines, media_type="text/csv", headers={**PAGE_HEADERS, "Content-Disposition": disposition})
