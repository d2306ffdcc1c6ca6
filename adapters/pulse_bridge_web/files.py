"""The page's own files: read once, so that no request can name a file that is not ours."""

import gzip
import html
import mimetypes
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Final

from starlette.datastructures import Headers
from starlette.responses import Response

from pulse_bridge_web.stream import accepts_gzip

FOLDER: Final = Path(__file__).parent / "static"

_BASE: Final = b"__BASE__"
_TYPES: Final = {".js": "text/javascript", ".mjs": "text/javascript", ".svg": "image/svg+xml", ".css": "text/css"}
_TEXTS: Final = ("text/", "image/svg+xml", "application/json", "application/manifest+json")


@dataclass(frozen=True)
class File:
    """A file as it is sent.

    Args:
        packed: Compressed.
        etag: Changes when it does.
    """

    content: bytes
    packed: bytes
    type: str
    etag: str

    def answer(self, headers: Headers) -> Response:
        """Answer a request for it; one who has it already is told so."""
        own = {"etag": self.etag, "cache-control": "no-cache", "vary": "accept-encoding"}
        known = [tag.strip().removeprefix("W/") for tag in headers.get("if-none-match", "").split(",")]
        if self.etag.removeprefix("W/") in known or known == ["*"]:
            return Response(status_code=304, headers=own)
        if accepts_gzip(headers):
            own["content-encoding"] = "gzip"
            return Response(self.packed, headers=own, media_type=self.type)
        return Response(self.content, headers=own, media_type=self.type)


def read_files(base_path: str, folder: Path = FOLDER) -> dict[str, File]:
    """Read every file below a folder; an HTML file gets the base path where it says `__BASE__`. Blocks.

    Returns:
        Path below the folder, with slashes, to the file.
    """
    base = html.escape(f"{base_path}/", quote=True).encode()
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            content = path.read_bytes()
            if path.suffix == ".html":
                content = content.replace(_BASE, base)
            found[path.relative_to(folder).as_posix()] = _make(path.suffix, content)
    return found


def _make(suffix: str, content: bytes) -> File:
    kind = _TYPES.get(suffix) or mimetypes.types_map.get(suffix, "application/octet-stream")
    if kind.startswith(_TEXTS):
        kind += "; charset=utf-8"
    etag = f'W/"{blake2b(content, digest_size=12).hexdigest()}"'  # weak: compressed or not, it is the same
    return File(content, gzip.compress(content, mtime=0), kind, etag)
