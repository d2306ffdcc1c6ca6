"""How the token is shown: by programs with each request, by a person once, in a form.

A form and no address, because addresses stand in histories, in proxies' logs and on screens.
"""

import asyncio
import html
from typing import Final
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit

from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.types import Receive, Scope, Send

from pulse_bridge_web.safety import Token

FORM_BYTES: Final = 4096
"""What is sent with a form is no longer."""

FORM_S: Final = 10.0
"""So long a client may take to send it."""

_COOKIE_S: Final = 400 * 86_400
"""The longest that browsers keep one."""

_FORM_TYPE: Final = "application/x-www-form-urlencoded"
_PORTS: Final = {"http": 80, "https": 443}

# Under the policy of all other answers a browser says of its own form that it comes from nowhere (`Origin: null`).
# Source: Fetch Standard, "append a request `Origin` header".
_ASK: Final = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta name="referrer" content="same-origin">
<link rel="icon" href="data:,">
<title>pulse-bridge: a token, please</title>
<h1>This page asks for a token</h1>
<p>{what}</p>
<form method="post"><label>Token <input type="password" name="token" required autofocus autocomplete="off"></label>
<button>Open the page</button></form>
<p>If you came by a link from another site and have shown the token before,
<a href="{here}">go on to the page</a>.</p>
</html>
"""
_ENTER: Final = "Whoever runs this server has it. The browser shows it for you from then on."
_WRONG: Final = "What was entered is not the token. Enter it again."


class Login:
    """Knows who has shown the token.

    Args:
        base_path: Without a slash at its end; empty where there is none.
    """

    def __init__(self, token: Token, base_path: str) -> None:
        self._token = token
        self._base_path = base_path

    def knows(self, headers: Headers) -> bool:
        """Say whether a request shows the token, or the cookie that was given for it."""
        scheme, _, shown = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return self._token.matches(shown.strip().encode("latin-1"))
        # Not the standard library's parser: it stops at another's cookie that it dislikes.
        cookie = cookie_parser(headers.get("cookie", "")).get(self._token.cookie_name)
        return cookie is not None and self._token.matches_cookie(cookie.encode())

    async def take_form(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a form with a token in it."""
        answer = await self._judge_form(scope, receive)
        await answer(scope, receive, send)

    async def _judge_form(self, scope: Scope, receive: Receive) -> Response:
        headers = Headers(scope=scope)
        if not _is_own(headers):
            return _refuse_form("a token is entered on this server's own page", 403)
        if headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM_TYPE:
            return _refuse_form(f"a token is sent as {_FORM_TYPE}", 415)
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > FORM_BYTES:
            return _refuse_form(f"a form is no longer than {FORM_BYTES} bytes", 413)
        try:
            async with asyncio.timeout(FORM_S):
                form = await _read(receive)
        except TimeoutError:
            return _refuse_form(f"the form did not come within {FORM_S:g} s", 408)
        if form is None:
            return _refuse_form(f"a form is no longer than {FORM_BYTES} bytes", 413)
        return self.judge(scope, headers, (values_of(form, "token") or [""])[-1].strip())

    def judge(self, scope: Scope, headers: Headers, shown: str) -> Response:
        """Give a browser that shows the token a cookie, and the address without the token."""
        if not self._token.matches(shown.encode()):
            return refuse(scope, _WRONG)
        path = self._base_path + scope["raw_path"].decode("ascii")
        answer = RedirectResponse("/" + path.lstrip("/") + _query_without_token(scope), 303)
        answer.set_cookie(
            self._token.cookie_name,
            self._token.cookie,
            max_age=_COOKIE_S,
            path=f"{self._base_path}/",
            secure=headers.get("x-forwarded-proto", "") == "https",
            httponly=True,
            samesite="strict",
        )
        answer.headers["cache-control"] = "no-store"
        return answer


def values_of(query: bytes, name: str) -> list[str]:
    """Give the values of a name in a query or a form."""
    return [value for given, value in parse_qsl(query.decode("latin-1"), keep_blank_values=True) if given == name]


def is_for_programs(scope: Scope) -> bool:
    """Say whether programs ask for this path, who read no page with a form."""
    path: str = scope["path"]
    return path.startswith("/api/") or path in {"/events", "/healthz", "/openapi.json"}


def refuse(scope: Scope, what: str = _ENTER) -> Response:
    """Ask for the token.

    Args:
        what: For a person, as HTML.
    """
    headers = {"www-authenticate": 'Bearer realm="pulse-bridge"', "cache-control": "no-store"}
    if is_for_programs(scope):
        sentence = "a token is asked for: send it as 'Authorization: Bearer TOKEN'"
        return JSONResponse({"error": sentence}, 401, headers)
    last = scope["raw_path"].decode("ascii").rpartition("/")[2] or "."
    here = html.escape(f"./{last}{_query_without_token(scope)}", quote=True)
    return HTMLResponse(_ASK.format(what=what, here=here), 401, headers)


def _query_without_token(scope: Scope) -> str:
    pairs = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    rest = urlencode([(name, value) for name, value in pairs if name != "token"])
    return f"?{rest}" if rest else ""


def _refuse_form(sentence: str, status: int) -> Response:
    # Closed behind it, for what is still to come of the form is not read.
    return JSONResponse({"error": sentence}, status, {"cache-control": "no-store", "connection": "close"})


async def _read(receive: Receive) -> bytes | None:
    """Read a form; None where it is too long. It is empty where the client leaves."""
    form = b""
    while len(form) <= FORM_BYTES:
        message = await receive()
        form += message.get("body", b"")
        if not message.get("more_body", False):
            return form if len(form) <= FORM_BYTES else None
    return None


def _is_own(headers: Headers) -> bool:
    """Say whether a form was sent from a page of ours, or by no browser at all.

    Source: Fetch Metadata Request Headers §2.3; browsers send that only where the address is trustworthy, which
    plain HTTP to another machine is not. Else the origin must be who was asked; a proxy may leave out its port.
    """
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site in {"same-origin", "none"}
    if "origin" not in headers:
        return True
    try:
        origin, asked = urlsplit(headers["origin"]), urlsplit(f"//{headers['host']}")
        return origin.hostname == asked.hostname and asked.port in {None, _port(origin)}
    except ValueError:
        return False


def _port(origin: SplitResult) -> int | None:
    return origin.port or _PORTS.get(origin.scheme)
