"""A bus as a URL: its parts, its options, its secret, and how to show it without one."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from pydantic import BaseModel, ConfigDict, ValidationError

from pulse_bridge.errors import ConfigError
from pulse_bridge.mistakes import refuse_options

_SECRET_NAME: Final = re.compile(r"pass|pwd|secret|token", re.IGNORECASE)
_NAMES_A_PLACE: Final = ("_env", "_file")
_HIDDEN: Final = "***"


class BusOptions(BaseModel):
    """What every bus URL may carry behind its `?`; an adapter's own options inherit from it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    password_env: str | None = None
    password_file: str | None = None


OptionsT = TypeVar("OptionsT", bound=BaseModel)


@dataclass(frozen=True)
class BusUrl:
    """The parts of a bus URL.

    Args:
        path: Decoded, with its leading slash, or empty.
        options: The query, each name once.
    """

    scheme: str
    host: str = ""
    port: int | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    path: str = ""
    options: Mapping[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def parse(cls, text: str) -> "BusUrl":
        """Take a URL apart.

        Raises:
            ConfigError: It is no URL, its port is no port, or an option stands there twice.
        """
        safe = hide_secret(text)
        # The library's own words are not repeated: they can hold part of a password.
        try:
            parts = urlsplit(text)
            port = parts.port
        except ValueError:
            raise ConfigError(
                f"{safe}: no bus URL: the host or port is wrong, or the password has a character that must be"
                " written as %XX (/ as %2F, ? as %3F, # as %23, @ as %40)"
            ) from None
        try:
            pairs = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
        except ValueError:
            raise ConfigError(f"{safe}: no bus URL: behind the '?' stands NAME=VALUE, joined by '&'") from None
        if not (parts.scheme and text[len(parts.scheme) :].startswith("://")):
            raise ConfigError(f"{safe}: no bus URL: it has no scheme; write redis://HOST or mqtt://HOST, say")
        if "#" in text:
            raise ConfigError(f"{safe}: write '#' as %23 inside a bus URL")
        if parts.netloc and "@" in parts.path + parts.query:
            # Else the rest of a password with a / or ? in it would be taken, and shown, for a path or an option.
            raise ConfigError(f"{safe}: inside a bus URL write '@' as %40, and / ? in a password as %2F %3F")
        options: dict[str, str] = {}
        for name, value in pairs:
            if name in options:
                raise ConfigError(f"{safe}: the option {name!r} stands there twice")
            options[name] = value
        return cls(
            scheme=parts.scheme.lower(),
            host=parts.hostname or "",
            port=port,
            username=unquote(parts.username) if parts.username else None,
            password=unquote(parts.password) if parts.password is not None else None,
            path=unquote(parts.path),
            options=options,
        )

    def parse_options(self, model: type[OptionsT]) -> OptionsT:
        """Validate the options with an adapter's model.

        Raises:
            ConfigError: Options are unknown (the known ones are listed) or have a wrong value.
        """
        try:
            return model.model_validate(dict(self.options))
        except ValidationError as error:
            raise refuse_options(error, self, model) from None

    def resolve_password(self, options: BusOptions) -> str | None:
        """Find the password: in the URL, the environment or a file, which is read anew at each call.

        Raises:
            ConfigError: The variable is not set or the file cannot be read.
        """
        if options.password_env is not None:
            value = os.environ.get(options.password_env)
            if value is None:
                raise ConfigError(f"{self}: the environment variable {options.password_env} is not set")
            return value
        if options.password_file is not None:
            try:
                return Path(options.password_file).read_text(encoding="utf-8").rstrip("\r\n")
            except (OSError, UnicodeDecodeError) as error:
                raise ConfigError(
                    f"{self}: the password file {options.password_file} cannot be read: {error}"
                ) from None
        return self.password

    @property
    def identity(self) -> str:
        """What tells this destination from others, over changes of login and other options."""
        place = "&".join(f"{name}={self.options[name]}" for name in ("db", "prefix") if name in self.options)
        return f"{self.scheme}://{self.host}:{self.port or ''}{self.path}#{place}"

    def __str__(self) -> str:
        user = quote(self.username or "", safe="")
        if self.password is not None:
            user += f":{_HIDDEN}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = f":{self.port}" if self.port is not None else ""
        query = "&".join(
            f"{name}={_HIDDEN if is_secret(name) else quote(value, safe='/:*')}"
            for name, value in self.options.items()
        )
        location = f"{user}@{host}{port}" if user else f"{host}{port}"
        return f"{self.scheme}://{location}{quote(self.path)}{'?' + query if query else ''}"


def is_secret(option: str) -> bool:
    """Say whether an option's value may be a password; `password_env` and `_file` only say where one is."""
    return _SECRET_NAME.search(option) is not None and not option.lower().endswith(_NAMES_A_PLACE)


def hide_secret(text: str) -> str:
    """Replace what may be a password in a text that need not be a proper URL."""
    scheme, separator, rest = text.partition("://")
    if not separator or "@" in scheme:
        scheme, separator, rest = "", "", text
    location, at, tail = rest.rpartition("@")
    if "?" in location:
        return f"{scheme}{separator}{_HIDDEN}"  # a password with a '?' in it or an option with an '@': who knows
    if at:
        user, colon, _ = location.partition(":")
        rest = f"{user}{':' + _HIDDEN if colon else ''}@{tail}"
    base, question, query = rest.partition("?")
    shown = "&".join(_hide_value(pair) for pair in query.split("&"))
    return f"{scheme}{separator}{base}{question}{shown}"


def _hide_value(pair: str) -> str:
    name, equals, _ = pair.partition("=")
    return f"{name}{equals}{_HIDDEN}" if equals and is_secret(unquote(name)) else pair
