"""Files for browsers, served from our own host: kept in memory, under an address that carries a digest of all of them.

They may therefore be cached for ever, and a new release is a new address. Ours lie in static/, others' are what
`make setup` took from npm.
"""

import gzip
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import structlog
from litestar import Request, Response

from backend.app.domain.errors import NotFound

log = structlog.get_logger()

STATIC: Final = Path(__file__).parent / "static"
NODE_MODULES: Final = Path(__file__).parent / "assets" / "node_modules"
STYLE: Final = "text/css; charset=utf-8"
SCRIPT: Final = "text/javascript; charset=utf-8"
ASSET_HEADERS: Final = {
    "Cache-Control": "public, max-age=31536000, immutable",
    "Vary": "Accept-Encoding",
    "X-Content-Type-Options": "nosniff",
}


class AssetNotFound(NotFound):
    """404: no file of this name, or of another release's digest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assets:
    """Every file of a bundle in memory, plain and compressed, under one digest."""

    digest: str
    plain: Mapping[str, bytes]
    compressed: Mapping[str, bytes]


class Bundle:
    """The files of some pages. files: (folder, media type) by file name."""

    def __init__(self, name: str, files: Mapping[str, tuple[Path, str]]) -> None:
        self.files = files
        self._name = name

    def find(self) -> Assets | None:
        """The files, or None while some are not installed; looked for again until all are there."""
        try:
            return self._loaded
        except FileNotFoundError as error:
            log.warning("console.asset_missing", bundle=self._name, file=str(error.filename))
            return None

    @cached_property
    def _loaded(self) -> Assets:
        plain = {name: (folder / name).read_bytes() for name, (folder, _) in self.files.items()}
        return Assets(
            digest=hashlib.sha256(b"\0".join(plain.values())).hexdigest()[:16],
            plain=plain,
            compressed={name: gzip.compress(content, compresslevel=6, mtime=0) for name, content in plain.items()},
        )

    def answer(self, request: Request[Any, Any, Any], *, digest: str, name: str) -> Response[bytes]:
        """One file, compressed for who can read that. Raises AssetNotFound."""
        assets = self.find()
        if assets is None or digest != assets.digest or name not in assets.plain:
            raise AssetNotFound
        _, media_type = self.files[name]
        if "gzip" in request.headers.get("accept-encoding", ""):
            headers = ASSET_HEADERS | {"Content-Encoding": "gzip"}
            return Response(assets.compressed[name], media_type=media_type, headers=headers)
        return Response(assets.plain[name], media_type=media_type, headers=ASSET_HEADERS)
