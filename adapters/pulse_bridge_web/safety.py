"""Who may ask for the page, and what a browser may do with it; no I/O but the reading of the token."""

import hmac
import os
import re
import socket
from collections.abc import Iterable
from hashlib import sha256
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from pulse_bridge.errors import ConfigError

TOKEN_CHARACTERS: Final = 16
"""A token is at least so long: whoever reaches the port may guess as often as they like."""

_HOST: Final = re.compile(r"\[(?P<ip6>[0-9A-Fa-f:.]+)\](:[0-9]{1,5})?|(?P<name>[^:\[\]/@\s]+)(:[0-9]{1,5})?")


class Token:
    """A secret that every request must show.

    A browser shows it once and gets a cookie with something made of it: the token itself is stored nowhere. The
    cookie's name is made of it, too, because browsers keep cookies by host without the port: two servers on one
    machine would else each put out the other's.

    Args:
        secret: Not empty.
    """

    def __init__(self, secret: str) -> None:
        self._secret = secret.encode()
        self.cookie = self._derive(b"pulse-bridge page")
        self.cookie_name = f"pulse_bridge_{self._derive(b'pulse-bridge cookie name')[:8]}"

    def _derive(self, purpose: bytes) -> str:
        return hmac.new(self._secret, purpose, sha256).hexdigest()

    def matches(self, shown: bytes) -> bool:
        """Say whether it was shown; takes as long for a wrong one as for the right one."""
        return hmac.compare_digest(shown, self._secret)

    def matches_cookie(self, shown: bytes) -> bool:
        """Say whether a cookie was made of it."""
        return hmac.compare_digest(shown, self.cookie.encode())


def read_token(env: str | None, file: str | None, *, shown: str) -> Token | None:
    """Read the token from where the options say that it is; None where they say nothing.

    Args:
        shown: What the user wrote, for the sentence of a refusal.

    Raises:
        ConfigError: It is not there, empty, too short, or said to be in two places.
    """
    if env is not None and file is not None:
        raise ConfigError(f"{shown}: the token stands in token_env or in token_file, not in both")
    if env is not None:
        return _checked(
            os.environ.get(env, ""), f"{shown}: token_env: the environment variable {env}", "not set or empty"
        )
    if file is None:
        return None
    try:
        secret = Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{shown}: token_file: {file} cannot be read: {error}") from None
    return _checked(secret, f"{shown}: token_file: {file}", "empty")


def _checked(secret: str, place: str, empty: str) -> Token:
    """Judge what a place holds; what stands around the token, such as a line's end, is none of it."""
    secret = secret.strip()
    if not secret:
        raise ConfigError(f"{place} is {empty}")
    if len(secret) < TOKEN_CHARACTERS:
        raise ConfigError(
            f"{place} holds a token of {len(secret)} characters, which can be guessed: it must have"
            f" {TOKEN_CHARACTERS} or more; make one with: openssl rand -hex 24"
        )
    return Token(secret)


class HostNames:
    """The names under which the page may be asked for.

    Against DNS rebinding: a foreign page whose own name suddenly means our address would else be let in as if it
    were ours. An address is no name, so it is always allowed.

    Args:
        names: Beside `localhost` and this machine's name.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._names = {"localhost", socket.gethostname().lower(), *(name.lower() for name in names)}

    def allows(self, header: str) -> bool:
        """Judge the `Host` header of a request. Source: RFC 9110 §7.2."""
        match = _HOST.fullmatch(header.strip())
        if match is None:
            return False
        name = (match["ip6"] or match["name"]).lower().rstrip(".")
        return name in self._names or name.endswith(".localhost") or _is_address(name)


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def make_headers(embedders: Iterable[str]) -> list[tuple[bytes, bytes]]:
    """Give the headers of every answer.

    Only our own files run, load and are asked. Pages of our own origin may show a page of ours in a frame; those
    of other origins only where they are listed, because what they lay over it could mislead.

    Args:
        embedders: Origins whose pages may show ours in a frame.
    """
    policy = "; ".join(
        [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "img-src 'self' data:",
            "font-src 'self'",
            "connect-src 'self'",
            "manifest-src 'self'",
            "worker-src 'self'",
            "base-uri 'self'",
            "form-action 'self'",
            " ".join(["frame-ancestors 'self'", *embedders]),
        ]
    )
    return [
        (b"content-security-policy", policy.encode()),
        (b"x-content-type-options", b"nosniff"),
        (b"referrer-policy", b"no-referrer"),
        (b"cross-origin-opener-policy", b"same-origin"),
        (b"cross-origin-resource-policy", b"same-origin"),
        (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
    ]
