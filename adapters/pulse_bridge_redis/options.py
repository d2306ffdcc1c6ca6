"""What a Redis URL says: its options, validated, and where it leads."""

import ssl
from dataclasses import dataclass
from typing import Annotated, Final, Self

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from pulse_bridge.bus_url import BusOptions, BusUrl
from pulse_bridge.errors import ConfigError

DAY_S: Final = 24 * 60 * 60
DEFAULT_PORT: Final = 6379
_UNIX: Final = "redis+unix"
_TLS: Final = "rediss"

_Seconds = Annotated[int, Field(ge=1, le=10 * 365 * DAY_S)]


class RedisOptions(BusOptions):
    """What may stand behind the `?`.

    Args:
        prefix: What every key starts with, at most 12 of `A-Z a-z 0-9 _ . -`.
        partitions: Spread hosts over so many hash slots; the same for everyone who uses the prefix.
        db: The number of the database; for `redis+unix`, elsewhere it is the path (`redis://HOST/2`).
        maxlen: About so many entries are kept of all events.
        job_maxlen: About so many entries are kept of one job's changes.
        job_expire_s: A job's stream goes so many seconds after its last event.
        seq_expire_s: A producer's last seq is known so long; a day more than the journal's age.
        forget_after_s: A finished job, or one of a dead host, leaves the state hash after so many seconds.
        tls_ca: File of the authorities to trust; the system's where absent.
        tls_cert: File of our own certificate, with its key in it or in `tls_key`.
        tls_insecure: Trust any certificate.
    """

    prefix: str = Field(default="pulse", min_length=1, max_length=12)
    partitions: int | None = Field(default=None, ge=1, le=1024)
    db: int = Field(default=0, ge=0)
    maxlen: int = Field(default=100_000, ge=1)
    job_maxlen: int = Field(default=10_000, ge=1)
    job_expire_s: _Seconds = 7 * DAY_S
    seq_expire_s: _Seconds = 8 * DAY_S
    forget_after_s: _Seconds = 7 * DAY_S
    tls_ca: str | None = None
    tls_cert: str | None = None
    tls_key: str | None = None
    tls_insecure: bool = False

    @field_validator("prefix")
    @classmethod
    def _check_prefix(cls, prefix: str) -> str:
        if not (prefix.isascii() and all(char.isalnum() or char in "_.-" for char in prefix)):
            raise PydanticCustomError("prefix", "use A-Z, a-z, 0-9 and _ . - only")
        return prefix

    @model_validator(mode="after")
    def _check_key(self) -> Self:
        if self.tls_key is not None and self.tls_cert is None:
            raise PydanticCustomError("tls_key", "tls_key needs tls_cert beside it")
        return self


@dataclass(frozen=True)
class Target:
    """Where to connect and how, everything checked that can be without connecting.

    Args:
        url: As the user gave it; its text form has no secret.
        db: The number of the database.
    """

    url: BusUrl
    options: RedisOptions
    db: int

    @classmethod
    def of(cls, url: BusUrl) -> "Target":
        """Read a URL.

        Raises:
            ConfigError: An option, the address, a certificate or the place of the password is wrong.
        """
        options = url.parse_options(RedisOptions)
        target = cls(url, options, _database(url, options))
        if url.scheme == _UNIX:
            _check_unix(url)
        elif not url.host:
            raise ConfigError(f"{url}: names no host; write {url.scheme}://localhost, say")
        _check_tls(url, options)
        url.resolve_password(options)
        return target

    @property
    def uses_tls(self) -> bool:
        """Say whether the connection is encrypted."""
        return self.url.scheme == _TLS

    @property
    def socket_path(self) -> str | None:
        """Give the path of the Unix socket, if it is one."""
        return self.url.path if self.url.scheme == _UNIX else None


def _check_unix(url: BusUrl) -> None:
    if url.host or url.port is not None or not url.path.strip("/"):
        raise ConfigError(f"{url}: names no socket; write {_UNIX}:///PATH, with three slashes")


def _database(url: BusUrl, options: RedisOptions) -> int:
    if url.scheme == _UNIX:
        return options.db
    path = url.path.removeprefix("/")
    if not path:
        return options.db
    if not (path.isascii() and path.isdigit()):
        raise ConfigError(f"{url}: {path!r} is no database; write its number, as in {url.scheme}://HOST/2")
    if "db" in url.options:
        raise ConfigError(f"{url}: names the database twice, in the path and as db=; leave one out")
    return int(path)


def _check_tls(url: BusUrl, options: RedisOptions) -> None:
    """Load the certificates once, so that a wrong file is found now.

    Raises:
        ConfigError: TLS options without TLS, or a file that cannot be used.
    """
    given = [name for name in RedisOptions.model_fields if name.startswith("tls_") and name in url.options]
    if given and url.scheme != _TLS:
        raise ConfigError(f"{url}: {given[0]} has no effect without TLS; write {_TLS}://")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        if options.tls_ca is not None:
            context.load_verify_locations(options.tls_ca)
    except OSError as error:
        raise ConfigError(f"{url}: tls_ca: {options.tls_ca} cannot be used: {error}") from error
    try:
        if options.tls_cert is not None:
            # An encrypted key would ask on the terminal; an empty password refuses it in words instead.
            context.load_cert_chain(options.tls_cert, options.tls_key, password="")
    except OSError as error:
        files = " and ".join(filter(None, (options.tls_cert, options.tls_key)))
        raise ConfigError(f"{url}: tls_cert: {files} cannot be used: {error}") from error
