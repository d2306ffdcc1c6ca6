"""Where alerts go: a name and a URL that is never shown."""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlsplit

from pulse_bridge.errors import ConfigError

TargetKind = Literal["notify", "webhook"]

_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]{0,31})://")
_NO_SCHEME: Final = "not a URL"
_WEBHOOK_SCHEMES: Final = frozenset({"http", "https"})


@dataclass(frozen=True)
class Target:
    """One place that alerts go to.

    Args:
        name: Unique among the targets.
        kind: `notify` is a service that Apprise knows; `webhook` takes our JSON.
        url: With its secrets; never in a log, an error or a repr.
        place: Where it is configured, e.g. `option notify (2nd)`; names it in an error.
    """

    name: str
    kind: TargetKind
    url: str = field(repr=False)
    place: str

    @property
    def shown(self) -> str:
        """What may be shown of the URL, e.g. `tgram://***`."""
        return hide_url(self.url)

    def __str__(self) -> str:
        return f"{self.name} ({self.shown})"


def hide_url(url: str) -> str:
    """Show the scheme of a URL and nothing else: with chat services every part behind it can be the secret."""
    found = _SCHEME.match(url)
    return f"{found[1].lower()}://***" if found else _NO_SCHEME


def make_target(name: str, kind: TargetKind, url: str, place: str) -> Target:
    """Check a URL as far as that is possible without loading Apprise.

    Raises:
        ConfigError: It is no URL, or a webhook is not http; the sentence does not show it.
    """
    target = Target(name, kind, url.strip(), place)
    require_scheme(target.url, place)
    if kind == "webhook" and not _is_web_address(target.url):
        raise ConfigError(
            f"{place}: {target.shown} is no webhook: write http://HOST/PATH or https://HOST/PATH, or give the"
            " URL of a service as notify"
        )
    return target


def require_scheme(url: str, place: str) -> None:
    """Refuse what has no scheme.

    Raises:
        ConfigError: It has none; the sentence does not show it.
    """
    if hide_url(url) == _NO_SCHEME:
        raise ConfigError(
            f"{place}: that is no URL; it begins with a scheme, as in json://HOST/PATH or tgram://TOKEN/CHAT"
            " (inside an option write it percent-encoded: ? as %3F, & as %26)"
        )


def _is_web_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme.lower() in _WEBHOOK_SCHEMES and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port or an IPv6 address that is none
        return False


@dataclass(frozen=True)
class UrlSource:
    """The three ways to give URLs of one kind.

    Args:
        kind: Of the targets, and the stem of the three settings.
        urls: Given outright.
        env: Name of an environment variable that holds URLs, one a line.
        file: Path of a file that holds URLs, one a line; a line that begins with `#` is none.
        place: Where the settings stand, e.g. `alerts.toml: [targets.phone]`.
    """

    kind: TargetKind
    urls: Sequence[str] = field(default=(), repr=False)
    env: str | None = None
    file: str | None = None
    place: str = "alerts"

    def read(self) -> Iterator[tuple[str, str]]:
        """Yield each URL with its place.

        Raises:
            ConfigError: The variable is not set, the file cannot be read, or one of them holds no URL.
        """
        for number, url in enumerate(self.urls, start=1):
            position = f" ({_ordinal(number)})" if len(self.urls) > 1 else ""
            yield url, f"{self.place}: {self.kind}{position}"
        if self.env is not None:
            place = f"{self.place}: {self.kind}_env"
            text = os.environ.get(self.env)
            if text is None:
                raise ConfigError(f"{place}: the environment variable {self.env} is not set")
            yield from _lines(text, f"{place}: the environment variable {self.env}")
        if self.file is not None:
            place = f"{self.place}: {self.kind}_file"
            try:
                text = Path(self.file).read_text(encoding="utf-8-sig")
            except UnicodeDecodeError:
                raise ConfigError(f"{place}: the file {self.file} is no UTF-8 text") from None
            except OSError as error:
                raise ConfigError(f"{place}: the file {self.file} cannot be read: {error.strerror}") from None
            yield from _lines(text, f"{place}: the file {self.file}")


def _lines(text: str, place: str) -> Iterator[tuple[str, str]]:
    found = False
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip() and not line.lstrip().startswith("#"):
            found = True
            yield line.strip(), f"{place}, line {number}"
    if not found:
        raise ConfigError(f"{place} holds no URL; write one a line")


def _ordinal(number: int) -> str:
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th") if number % 100 not in {11, 12, 13} else "th"
    return f"{number}{ending}"
