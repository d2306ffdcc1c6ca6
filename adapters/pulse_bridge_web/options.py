"""What may stand behind `web?`."""

import re
from typing import Annotated, Final

from pydantic import AfterValidator, Field

from pulse_bridge.subscriber import SubscriberOptions

_BASE_PATH: Final = re.compile(r"(/[A-Za-z0-9._~-]+)*")
_ORIGIN: Final = re.compile(r"https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?|https?://\[[0-9A-Fa-f:]+\](:[0-9]{1,5})?")


def _checked_base_path(text: str) -> str:
    path = text.rstrip("/")
    if not _BASE_PATH.fullmatch(path) or any(part in {".", ".."} for part in path.split("/")):
        raise ValueError("a base path looks like /pulse: letters, digits and . _ ~ - between slashes")
    return path


def split_list(text: str) -> tuple[str, ...]:
    """Take a list with commas apart."""
    return tuple(part for part in (part.strip() for part in text.split(",")) if part)


def _checked_origins(text: str) -> str:
    for origin in split_list(text):
        if not _ORIGIN.fullmatch(origin):
            raise ValueError(f"{origin!r} is no origin: write https://HOST or https://HOST:PORT, without a path")
    return text


_Origins = Annotated[str, AfterValidator(_checked_origins)]


class WebOptions(SubscriberOptions):
    """The options of the subscriber.

    Args:
        port: TCP port; 0 takes a free one, which the log then tells.
        bind: Address or name to listen on. Beyond loopback a token is required.
        fd: A socket that listens already, by its descriptor, instead of `port` and `bind`: what a service manager
            passes on (3 under systemd).
        token_env: Environment variable that holds the token which every request must show.
        token_file: File that holds it.
        base_path: What stands before every path, for a reverse proxy that passes it on: `/pulse`.
        hosts: Further names, with commas between, under which the page may be asked for.
        origins: Origins, with commas between, whose scripts may read the API (CORS).
        embed: Origins, with commas between, whose pages may show this one in a frame.
        max_connections: So many connections are served at once.
        max_per_address: So many of them from one address (IPv6: one /64). Without it a quarter of them from
            another machine's, and no limit from this one's own.
    """

    port: Annotated[int, Field(ge=0, le=65_535)] = 8321
    bind: Annotated[str, Field(min_length=1)] = "127.0.0.1"
    fd: Annotated[int, Field(ge=0)] | None = None
    token_env: Annotated[str, Field(min_length=1)] | None = None
    token_file: Annotated[str, Field(min_length=1)] | None = None
    base_path: Annotated[str, AfterValidator(_checked_base_path)] = ""
    hosts: str = ""
    origins: _Origins = ""
    embed: _Origins = ""
    max_connections: Annotated[int, Field(ge=1, le=100_000)] = 2000
    max_per_address: Annotated[int, Field(ge=1, le=100_000)] | None = None
