"""Signing in and out, and the choices of a person: language, theme, and, for owners, the tenant in view."""

from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from litestar import HttpMethod, Request, Response, get, post, route
from litestar.di import NamedDependency
from litestar.params import FromPath

from backend.app.console import cookies, render, visit
from backend.app.console.access import Page
from backend.app.console.text import LANGUAGES
from backend.app.console.visit import action, page, welcome
from backend.app.domain.people.email import EMAIL_LENGTH_MAX
from backend.app.domain.people.password import PASSWORD_LENGTH_MAX
from backend.app.domain.people.sign_in import InvalidCredentials, RateLimited, Realm, SignInCommand
from backend.app.domain.tenant import TenantNotFound
from backend.app.services.people.console_sessions import ConsoleSessions
from backend.app.services.tenants import Tenants

AnyRequest = Request[Any, Any, Any]
HOME: Final = "/console"
# More tenants than anybody looks through; the page says so.
TENANTS_MAX: Final = 200


@route("/sign-in", http_method=[HttpMethod.GET, HttpMethod.HEAD], guards=[welcome])
async def get_sign_in(request: AnyRequest) -> Response[Any]:
    """The form; who is signed in goes on at once."""
    onward = visit.local_path(request.query_params.get("next"))
    if visit.session_of(request) is not None:
        return render.redirect(request, onward or HOME)
    return _form(request, onward=onward)


@post("/sign-in", guards=[welcome])
async def post_sign_in(request: AnyRequest, console_sessions: NamedDependency[ConsoleSessions]) -> Response[Any]:
    """Signs in by e-mail and password, under the same throttle as the API."""
    form = await request.form()
    onward = visit.local_path(str(form.get("next", "")))
    email, password = str(form.get("email", "")).strip().lower(), str(form.get("password", ""))
    if cookies.is_unprotected(request):
        return _form(request, onward=onward, email=email, problem="sign_in.unprotected", status=403)
    if not 0 < len(email) <= EMAIL_LENGTH_MAX or not 0 < len(password) <= PASSWORD_LENGTH_MAX or "\0" in email:
        return _form(request, onward=onward, email=email[:EMAIL_LENGTH_MAX], problem="sign_in.wrong", status=401)
    command = SignInCommand(
        realm=Realm.ADMIN,
        tenant_id=None,
        email=email,
        password=password,
        client_address=request.client.host if request.client else None,
        now=datetime.now(UTC),
    )
    try:
        token = await console_sessions.open(command)
    except InvalidCredentials:
        return _form(request, onward=onward, email=email, problem="sign_in.wrong", status=401)
    except RateLimited as refusal:
        minutes = -(-refusal.retry_after_seconds // 60)
        return _form(request, onward=onward, email=email, problem="sign_in.throttled", minutes=minutes, status=429)
    former = visit.session_of(request)
    if former is not None:
        await console_sessions.close(former.token)
    made = (
        cookies.secret_cookie(request, cookies.SESSION, token),
        cookies.ended_cookie(request, cookies.FORM),
    )
    return render.redirect(request, onward or HOME, cookies_=made)


@action("/sign-out", of=Page.SIGN_OUT)
async def post_sign_out(request: AnyRequest, console_sessions: NamedDependency[ConsoleSessions]) -> Response[Any]:
    """Ends the session on the server and in the browser."""
    await console_sessions.close(visit.own_session(request).token)
    return render.redirect(request, "/console/sign-in", cookies_=(cookies.ended_cookie(request, cookies.SESSION),))


@post("/preferences", guards=[welcome])
async def post_preferences(request: AnyRequest) -> Response[Any]:
    """Remembers a language or a theme in the browser, and goes back to where it was chosen."""
    form = await request.form()
    language, theme = str(form.get("language", "")), str(form.get("theme", ""))
    made = []
    if language in LANGUAGES:
        made.append(cookies.preference_cookie(request, cookies.LANGUAGE, language))
    if theme in cookies.THEMES:
        made.append(cookies.preference_cookie(request, cookies.THEME, theme))
    return render.redirect(request, visit.local_path(str(form.get("back", ""))) or HOME, cookies_=tuple(made))


@page("/tenant", of=Page.TENANT_CHOICE)
async def get_tenant_choice(request: AnyRequest, tenants: NamedDependency[Tenants]) -> Response[Any]:
    """The tenants that an owner can look at, one at a time or all at once."""
    listed, total = await tenants.list_page(None, limit=TENANTS_MAX, offset=0)
    return await render.show(request, "tenant/choice.html", tenants=listed, total=total)


@action("/tenant", of=Page.TENANT_CHOICE)
async def post_tenant_choice(request: AnyRequest, console_sessions: NamedDependency[ConsoleSessions]) -> Response[Any]:
    """Chooses. Raises TenantNotFound."""
    chosen = str((await request.form()).get("tenant_id", ""))
    try:
        tenant_id = UUID(chosen) if chosen else None
    except ValueError:
        raise TenantNotFound from None
    await console_sessions.choose_tenant(visit.own_session(request), tenant_id)
    return render.redirect(request, HOME)


@get("/assets/{digest:str}/{name:str}", sync_to_thread=True)
def get_asset(request: AnyRequest, digest: FromPath[str], name: FromPath[str]) -> Response[bytes]:
    """One file of the console's pages. Raises AssetNotFound."""
    return render.BUNDLE.answer(request, digest=digest, name=name)


def _form(
    request: AnyRequest,
    *,
    onward: str | None,
    email: str = "",
    problem: str | None = None,
    minutes: int = 0,
    status: int = 200,
) -> Response[str]:
    if problem is None and cookies.is_unprotected(request):
        problem = "sign_in.unprotected"
    return render.part(
        request,
        "sign_in/form.html",
        status=status,
        onward=onward or "",
        email=email,
        problem=problem,
        minutes=minutes,
    )


HANDLERS: Final = (
    get_sign_in,
    post_sign_in,
    post_sign_out,
    post_preferences,
    get_tenant_choice,
    post_tenant_choice,
    get_asset,
)
