"""The browsable page of the API: everything it needs comes from this service, and nothing else may run in it."""

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from backend.app.console import api_docs
from backend.app.console.bundle import Bundle
from backend.app.main import build
from backend.app.repositories import home
from backend.app.repositories.embedded.postgres import SERVICE_ROLE
from backend.app.repositories.engine import Engine
from backend.config import Settings
from backend.scripts import npm_packages
from backend.tests.conftest import Database

ASSETS = Path(api_docs.__file__).parent / "assets"


@pytest.fixture
async def client(database: Database, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    engine = Engine(
        owner_url=database.owner_url,
        service_url=database.service_url,
        set_role=None,
        service_login=SERVICE_ROLE,
        embedded=None,
    )
    app = build(home.with_dev_secrets(Settings(hakem_home=tmp_path)), engine)
    transport = httpx.ASGITransport(app)  # type: ignore[arg-type]  # Litestar's own types for the same thing
    async with httpx.AsyncClient(transport=transport, base_url="http://hakem") as client:
        yield client


@pytest.fixture
def without_scripts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    files = {name: (tmp_path, media_type) for name, (_, media_type) in api_docs.BUNDLE.files.items()}
    monkeypatch.setattr(api_docs, "BUNDLE", Bundle("api_docs", files))


async def test_page_loads_only_files_of_this_service(client: httpx.AsyncClient) -> None:
    page = await client.get("/docs")
    assert page.status_code == 200
    addresses = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assets = [address for address in addresses if address.startswith("/docs/assets/")]
    assert len(assets) == len(api_docs.BUNDLE.files)
    for address in assets:
        asset = await client.get(address)
        assert asset.status_code == 200, address
        assert asset.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert asset.headers["content-encoding"] == "gzip"
        assert asset.content == await plain(client, address)
    assert set(addresses) - set(assets) == {"data:,", "/schema/openapi.json"}


async def plain(client: httpx.AsyncClient, address: str) -> bytes:
    asset = await client.get(address, headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in asset.headers
    return asset.content


async def test_page_allows_no_inline_script_and_no_other_host(client: httpx.AsyncClient) -> None:
    page = await client.get("/docs")
    policy = dict(part.split(" ", 1) for part in page.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    assert not re.search(r"<script(?![^>]*\bsrc=)", page.text)
    assert not re.search(r"\bon[a-z]+=|\bstyle=|https?://", page.text)


async def test_schema_describes_the_api_and_not_the_page(client: httpx.AsyncClient) -> None:
    answer = await client.get("/schema/openapi.json")
    schema = json.loads(answer.content)
    assert schema["openapi"].startswith("3.1")
    assert "/api/v1/player/wallet/withdraw" in schema["paths"]
    assert not [path for path in schema["paths"] if path.startswith(("/docs", "/schema"))]


async def test_asset_of_another_release_or_name_is_not_found(client: httpx.AsyncClient) -> None:
    assets = api_docs.BUNDLE.find()
    assert assets is not None
    for address in (
        "/docs/assets/0000000000000000/api_docs.js",
        f"/docs/assets/{assets.digest}/swagger-initializer.js",
        f"/docs/assets/{assets.digest}/..%2Fapi_docs.py",
    ):
        answer = await client.get(address)
        assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")


@pytest.mark.usefixtures("without_scripts")
async def test_page_without_its_scripts_names_the_command(client: httpx.AsyncClient) -> None:
    page = await client.get("/docs")
    assert page.status_code == 503
    assert "make setup" in page.text
    assert "content-security-policy" in page.headers
    assert (await client.get("/docs/assets/0000000000000000/api_docs.js")).status_code == 404


def test_packages_are_locked_by_content_and_not_by_address() -> None:
    wanted = json.loads((ASSETS / "package.json").read_text())["dependencies"]
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in wanted.values())
    locked = json.loads((ASSETS / "package-lock.json").read_text())["packages"]
    assert all("resolved" not in package for package in locked.values())
    assert all("integrity" in package for name, package in locked.items() if name)


def test_packages_count_as_installed_only_for_their_own_lock_file(tmp_path: Path) -> None:
    lock = tmp_path / "package-lock.json"
    lock.write_text("{}")
    (tmp_path / "node_modules").mkdir()
    assert not npm_packages.is_installed(tmp_path)
    npm_packages._stamp(tmp_path).touch()
    assert npm_packages.is_installed(tmp_path)
    lock.write_text('{"another": "lock"}')
    assert not npm_packages.is_installed(tmp_path)
