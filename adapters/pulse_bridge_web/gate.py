"""What every request passes before it comes to the application."""

from email.utils import formatdate
from typing import Final

from starlette.datastructures import Headers
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pulse_bridge_web.login import Login, is_for_programs, refuse, values_of
from pulse_bridge_web.safety import HostNames, Token

HEADER_BYTES: Final = 32_768
"""The headers of a request are no longer, together."""

QUERY_BYTES: Final = 4096
"""What stands behind the `?` of an address is no longer."""


class Gate:
    """Asks who asks, takes the base path off, and dates every answer.

    Args:
        app: What is asked behind it.
        base_path: Without a slash at its end; empty where there is none.
        token: None asks for none.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        base_path: str,
        hosts: HostNames,
        token: Token | None,
    ) -> None:
        self._app = app
        self._base_path = base_path
        self._hosts = hosts
        self._login = None if token is None else Login(token, base_path)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a refusal, or let the application answer."""

        async def send_dated(message: Message) -> None:
            if message["type"] == "http.response.start":
                date = (b"date", formatdate(usegmt=True).encode())
                message = {**message, "headers": [*message.get("headers", ()), date]}
            await send(message)

        refusal = self._refusal(scope)
        await (refusal or self._app)(scope, receive, send_dated)

    def _refusal(self, scope: Scope) -> ASGIApp | None:
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

    def _ask_for_token(self, scope: Scope, headers: Headers) -> ASGIApp | None:
        login = self._login
        if login is None or scope["method"] == "OPTIONS":
            return None
        if not is_for_programs(scope):
            if scope["method"] == "POST":
                return login.take_form
            if shown := values_of(scope["query_string"], "token"):
                return login.judge(scope, headers, shown[-1])
        return None if login.knows(headers) else refuse(scope)


def _error(sentence: str, status: int) -> JSONResponse:
    return JSONResponse({"error": sentence}, status)
