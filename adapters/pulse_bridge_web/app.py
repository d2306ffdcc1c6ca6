"""What each path answers."""

import asyncio
import gzip
import re
from collections.abc import Coroutine, Mapping
from typing import Final, TypeVar
from urllib.parse import unquote

from pydantic_core import to_json as encode_json
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pulse_bridge.event import parse_time, to_json
from pulse_bridge_web.board import Board, JobKey
from pulse_bridge_web.files import File
from pulse_bridge_web.frames import Text
from pulse_bridge_web.history import LIMIT, MOST, BusyError, History, Past
from pulse_bridge_web.hub import Hub
from pulse_bridge_web.openapi import LATEST_S, make_document
from pulse_bridge_web.pieces import Load, PiecedResponse
from pulse_bridge_web.stream import EventStream, accepts_gzip, until_left

ResultT = TypeVar("ResultT")

_PACK_FROM_BYTES: Final = 1024
_EVENTS_AT_ONCE: Final = 200
_SOON: Final = {"retry-after": "2"}
_JOBS: Final = "/api/jobs/"
_HISTORY: Final = "/history"
_SENTENCES: Final = {
    "Not Found": "there is nothing here: openapi.json tells what there is",
    "Method Not Allowed": "everything here is read with GET",
}
"""In the place of what Starlette says of its own."""

_WHOLE: Final = re.compile(r"[0-9]{1,18}")
_DOTS: Final = re.compile(r"\.\.?~+")


class Site:
    """The answers.

    Args:
        files: Of the page: path below `static/` to the file.
    """

    def __init__(
        self, board: Board, hub: Hub, history: History, files: Mapping[str, File], base_path: str
    ) -> None:
        self._board = board
        self._hub = hub
        self._history = history
        self._files = files
        self._pasts = Load()
        self._document = encode_json(make_document(base_path))

    def routes(self, stream: EventStream) -> list[Route]:
        """Give what answers each path."""
        return [
            Route("/", self.overview),
            Route("/jobs/{names:path}", self.job_page),
            Route("/static/{file:path}", self.file),
            Route("/api/jobs", self.jobs),
            Route("/api/jobs/{names:path}", self.job_or_history),
            Route("/events", stream, methods=["GET"]),
            Route("/healthz", self.health),
            Route("/openapi.json", self.openapi),
        ]

    async def overview(self, request: Request) -> Response:
        """Show the page."""
        return self._file("index.html", request)

    async def job_page(self, request: Request) -> Response:
        """Show a job's own page, which itself says so where there is no such job."""
        if _split(_raw_path(request), "/jobs/") is None:
            raise HTTPException(404, "a job's page is at jobs/HOST/JOB")
        return self._file("job.html" if "job.html" in self._files else "index.html", request)

    async def file(self, request: Request) -> Response:
        """Give a file of the page."""
        return self._file(request.path_params["file"], request)

    def _file(self, name: str, request: Request) -> Response:
        file = self._files.get(name)
        if file is None:
            raise HTTPException(404, "there is no such file")
        return file.answer(request.headers)

    async def jobs(self, request: Request) -> Response:
        """Give everything."""
        return await _json(await self._hub.state(), request)

    async def job_or_history(self, request: Request) -> Response:
        """Give one job, or its past."""
        raw = _raw_path(request)
        key = _split(raw.removesuffix(_HISTORY), _JOBS) if raw.endswith(_HISTORY) else None
        if key is not None:
            return await self._past_of(key, request)
        key = _split(raw, _JOBS)
        view = self._board.view_job(key, spark=True) if key else None
        if view is None:
            raise HTTPException(404, "there is no such job: its address is api/jobs/HOST/JOB")
        return await _json(view, request)

    async def _past_of(self, key: JobKey, request: Request) -> Response:
        asked = request.query_params
        reading = self._history.job(
            *key,
            since_ms=_instant(asked.get("since"), "since"),
            until_ms=_instant(asked.get("until"), "until"),
            run=_whole(asked.get("run"), "run", None),
            limit=_limit(asked.get("limit")),
            heartbeats=_flag(asked.get("heartbeats"), "heartbeats"),
        )
        try:
            past = await _unless_left(reading, request)
        except BusyError as error:
            raise HTTPException(503, str(error), _SOON) from error
        if past is None:
            return Response()
        answer = await _json(await _past_json(past), request)
        if not self._pasts.has_room(len(answer.body)):
            raise HTTPException(503, "others are still fetching the past; ask again in a moment", _SOON)
        answer.load = self._pasts
        return answer

    async def health(self, request: Request) -> Response:
        """Say whether what is shown is the present."""
        board = self._board
        body = encode_json({"ok": board.connected, "reason": board.reason})
        return await _json(body, request, 200 if board.connected else 503)

    async def openapi(self, request: Request) -> Response:
        """Describe all this."""
        return await _json(self._document, request)


def make_app(site: Site, stream: EventStream) -> Starlette:
    """Make the application."""
    app = Starlette(routes=site.routes(stream), exception_handlers={HTTPException: _say_error})
    app.router.redirect_slashes = False  # it knows neither the base path nor the proxy's scheme
    return app


async def _say_error(_: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    sentence = _SENTENCES.get(error.detail, error.detail)
    headers = {**(error.headers or {}), "cache-control": "no-store"}
    return Response(encode_json({"error": sentence}), error.status_code, headers, "application/json")


async def _json(body: Text, request: Request, status: int = 200) -> PiecedResponse:
    headers = {"cache-control": "no-store", "vary": "accept-encoding"}
    if len(body) >= _PACK_FROM_BYTES and accepts_gzip(request.headers):
        headers["content-encoding"] = "gzip"
        body = await asyncio.to_thread(gzip.compress, body, 1)
    return PiecedResponse(memoryview(body), status, headers, "application/json")


async def _past_json(past: Past) -> bytes:
    """Write it, yielding the event loop every few events."""
    found = []
    for number, event in enumerate(past.events, start=1):
        found.append(to_json(event))
        if number % _EVENTS_AT_ONCE == 0:
            await asyncio.sleep(0)
    rest = encode_json({"complete": past.complete, "reason": past.reason, "kept": past.kept})
    return b'{"events":[' + ",".join(found).encode() + b"]," + rest[1:]


async def _unless_left(work: Coroutine[None, None, ResultT], request: Request) -> ResultT | None:
    """Do some work for a client; None where it leaves meanwhile, and the work is given up."""
    working, leaving = asyncio.ensure_future(work), asyncio.ensure_future(until_left(request.receive))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        return await working if working.done() else None
    finally:
        leaving.cancel()
        working.cancel()


def _raw_path(request: Request) -> str:
    path: bytes = request.scope["raw_path"]
    return path.decode("ascii")


def _split(path: str, prefix: str) -> JobKey | None:
    """Read host and job from a path. A job's name may have slashes, as such or as `%2F`."""
    host, slash, job = path.removeprefix(prefix).partition("/")
    if not (path.startswith(prefix) and host and slash and job):
        return None
    return _named(unquote(host)), _named(unquote(job))


def _named(text: str) -> str:
    """Read a name back: browsers resolve `.` and `..` in a path, so one `~` more stands behind such a name."""
    return text[:-1] if _DOTS.fullmatch(text) else text


def _instant(text: str | None, name: str) -> int | None:
    if text is None:
        return None
    if _WHOLE.fullmatch(text) and int(text) <= LATEST_S:
        return int(text) * 1000
    try:
        return parse_time(text.replace(" ", "+"))  # an offset's plus that was not encoded
    except (ValueError, OverflowError):
        raise HTTPException(400, f"{name}= is an instant such as 2026-01-02T03:04:05Z, or Unix seconds") from None


def _whole(text: str | None, name: str, otherwise: int | None) -> int | None:
    if text is None:
        return otherwise
    if not _WHOLE.fullmatch(text) or int(text) > LATEST_S:
        raise HTTPException(400, f"{name}= is a whole number")
    return int(text)


def _limit(text: str | None) -> int:
    limit = _whole(text, "limit", LIMIT)
    if limit is None or not 1 <= limit <= MOST:
        raise HTTPException(400, f"limit= is a whole number from 1 to {MOST}")
    return limit


def _flag(text: str | None, name: str) -> bool:
    if text not in {None, "true", "false"}:
        raise HTTPException(400, f"{name}= is true or false")
    return text == "true"
