"""What every request passes before it comes to the application."""

import html
from email.utils import formatdate
from typing import Final
from urllib.parse import parse_qsl, urlencode

from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pulse_bridge_web.safety import COOKIE, HostNames, Token

HEADER_BYTES: Final = 32_768
"""The headers of a request are no longer, together."""

QUERY_BYTES: Final = 4096
"""What stands behind the `?` of an address is no longer."""

_COOKIE_S: Final = 400 * 86_400
"""The longest that browsers keep one."""

_ASK: Final = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>pulse-bridge: a token, please</title>
<h1>This page asks for a token</h1>
<p>{what}</p>
<form method="get"><label>Token <input type="password" name="token" required autofocus autocomplete="off"></label>
<button>Open the page</button></form>
<p>If you came by a link from another site and have shown the token before,
<a href="{path}">go on to the page</a>.</p>
</html>
"""


class Gate:
    """Asks who asks, takes the base path off, and puts the safety headers on every answer.

    Args:
        app: What is asked behind it.
        base_path: Without a slash at its end; empty where there is none.
        token: None asks for none.
        headers: Of every answer.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        base_path: str,
        hosts: HostNames,
        token: Token | None,
        headers: list[tuple[bytes, bytes]],
    ) -> None:
        self._app = app
        self._base_path = base_path
        self._hosts = hosts
        self._token = token
        self._headers = headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a refusal, or let the application answer."""
        answer = self._with_headers(send)
        refusal = self._refusal(scope)
        await (refusal or self._app)(scope, receive, answer)

    def _with_headers(self, send: Send) -> Send:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = [*self._headers, (b"date", formatdate(usegmt=True).encode())]
                message = {**message, "headers": [*message.get("headers", ()), *own]}
            await send(message)

        return send_with_headers

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        host = headers.getlist("host")
        if len(host) != 1 or not self._hosts.allows(host[0]):
            return PlainTextResponse(
                "This name is not one of this server's: whoever runs it allows it with hosts=NAME.\n", 421
            )
        if sum(len(name) + len(value) for name, value in scope["headers"]) > HEADER_BYTES:
            return _error(f"the headers are longer than {HEADER_BYTES} bytes together", 431)
        if len(scope["query_string"]) > QUERY_BYTES:
            return _error(f"what stands behind the '?' is longer than {QUERY_BYTES} bytes", 414)
        return self._take_off_base_path(scope) or self._ask_for_token(scope, headers)

    def _take_off_base_path(self, scope: Scope) -> Response | None:
        base = self._base_path
        raw: bytes = scope["raw_path"]
        if base and raw == base.encode():
            query = scope["query_string"].decode("latin-1")
            return RedirectResponse(f"{base}/{'?' if query else ''}{query}", 308)
        if not raw.startswith(base.encode() + b"/"):
            return PlainTextResponse(f"There is nothing here: everything is below {base}/.\n", 404)
        scope["raw_path"] = raw[len(base) :]
        # Routed as it was written: a name may have an encoded slash or line end in it.
        scope["path"] = scope["raw_path"].decode("ascii")
        return None

    def _ask_for_token(self, scope: Scope, headers: Headers) -> Response | None:
        token = self._token
        if token is None or scope["method"] == "OPTIONS":
            return None
        given = _values(scope["query_string"], "token")
        if given:
            return self._welcome(scope, headers, token) if token.matches(given[-1].encode()) else _refuse(scope)
        scheme, _, shown = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return None if token.matches(shown.strip().encode("latin-1")) else _refuse(scope)
        cookie = _cookie(headers)
        if cookie is not None and token.matches_cookie(cookie.encode()):
            return None
        return _refuse(scope)

    def _welcome(self, scope: Scope, headers: Headers, token: Token) -> Response | None:
        """Give a browser a cookie, and the address without the token."""
        if _is_for_programs(scope):
            return None
        pairs = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        rest = urlencode([(name, value) for name, value in pairs if name != "token"])
        path = self._base_path + scope["raw_path"].decode("ascii")
        answer = RedirectResponse("/" + path.lstrip("/") + (f"?{rest}" if rest else ""), 303)
        answer.set_cookie(
            COOKIE,
            token.cookie,
            max_age=_COOKIE_S,
            path=f"{self._base_path}/",
            secure=headers.get("x-forwarded-proto", "") == "https",
            httponly=True,
            samesite="strict",
        )
        answer.headers["cache-control"] = "no-store"
        return answer


def _values(query: bytes, name: str) -> list[str]:
    return [value for given, value in parse_qsl(query.decode("latin-1"), keep_blank_values=True) if given == name]


def _cookie(headers: Headers) -> str | None:
    # Not the standard library's parser: it stops at another's cookie that it dislikes.
    return cookie_parser(headers.get("cookie", "")).get(COOKIE)


def _is_for_programs(scope: Scope) -> bool:
    path: str = scope["path"]
    return path.startswith("/api/") or path in {"/events", "/healthz", "/openapi.json"}


def _refuse(scope: Scope) -> Response:
    headers = {"www-authenticate": 'Bearer realm="pulse-bridge"', "cache-control": "no-store"}
    if _is_for_programs(scope):
        return _error("a token is asked for: send it as 'Authorization: Bearer TOKEN'", 401, headers)
    what = "Enter it here, or open this address once with <code>?token=</code> and the token behind it."
    here = html.escape(scope["raw_path"].decode("ascii").rpartition("/")[2] or ".", quote=True)
    return HTMLResponse(_ASK.format(what=what, path=f"./{here}"), 401, headers)


def _error(sentence: str, status: int, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"error": sentence}, status, headers)
