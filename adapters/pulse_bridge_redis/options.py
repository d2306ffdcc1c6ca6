"""What a Redis URL says: its options, validated, and where it leads."""

import ssl
from dataclasses import dataclass
from typing import Annotated, Final, Literal, NamedTuple, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from pulse_bridge.bus_url import BusOptions, BusUrl
from pulse_bridge.errors import ConfigError

DAY_S: Final = 24 * 60 * 60
DEFAULT_PORT: Final = 6379
SENTINEL_PORT: Final = 26379
CLUSTER_PARTITIONS: Final = 16
"""Where the URL of a cluster says no number: enough for the keys to spread over a handful of nodes."""

_UNIX: Final = "redis+unix"
_TLS: Final = "rediss"
_SENTINEL: Final = "redis+sentinel"
_CLUSTER: Final = "redis+cluster"

_Seconds = Annotated[int, Field(ge=1, le=10 * 365 * DAY_S)]


class RedisOptions(BusOptions):
    """What may stand behind the `?`.

    Args:
        prefix: What every key starts with, at most 12 of `A-Z a-z 0-9 _ . -`.
        partitions: Spread hosts over so many hash slots; the same for everyone who uses the prefix.
        db: The number of the database; for `redis+unix` and `redis+sentinel`, elsewhere it is the path
            (`redis://HOST/2`).
        nodes: More sentinels, or more nodes of a cluster to ask, as HOST:PORT joined by commas.
        sentinel_username: For the sentinels, where they want a login of their own.
        sentinel_password_env: The environment variable with the sentinels' password.
        sentinel_password_file: The file with the sentinels' password.
        tls: Encrypt, with `redis+sentinel` and `redis+cluster`; `rediss` always does.
        maxlen: About so many entries are kept of all events.
        job_maxlen: About so many entries are kept of one job's changes.
        job_expire_s: A job's stream goes so many seconds after its last event.
        seq_expire_s: A producer's last seq is known so long; a day more than the journal's age.
        stream: What the past is read from: `events`, or `jobs`, each job's own, which go further back and hold
            only what a chart needs.
        forget_after_s: A finished job, or one of a dead host, leaves the state hash after so many seconds.
        tls_ca: File of the authorities to trust; the system's where absent.
        tls_cert: File of our own certificate, with its key in it or in `tls_key`.
        tls_insecure: Trust any certificate.
    """

    prefix: str = Field(default="pulse", min_length=1, max_length=12)
    partitions: int | None = Field(default=None, ge=1, le=1024)
    db: int = Field(default=0, ge=0)
    nodes: str | None = None
    sentinel_username: str | None = None
    sentinel_password_env: str | None = None
    sentinel_password_file: str | None = None
    tls: bool = False
    maxlen: int = Field(default=100_000, ge=1)
    job_maxlen: int = Field(default=10_000, ge=1)
    job_expire_s: _Seconds = 7 * DAY_S
    seq_expire_s: _Seconds = 8 * DAY_S
    stream: Literal["events", "jobs"] = "events"
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


class Address(NamedTuple):
    """A server, or a sentinel."""

    host: str
    port: int


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
        _check_topology(url, options)
        _check_tls(url, options, encrypted=target.uses_tls)
        url.resolve_password(options)
        target.resolve_sentinel_password()
        return target

    @property
    def uses_tls(self) -> bool:
        """Say whether the connection is encrypted."""
        return self.url.scheme == _TLS or self.options.tls

    @property
    def socket_path(self) -> str | None:
        """Give the path of the Unix socket, if it is one."""
        return self.url.path if self.url.scheme == _UNIX else None

    @property
    def service(self) -> str | None:
        """Give the name under which sentinels know the primary, if they are to be asked."""
        return self.url.path.strip("/") if self.url.scheme == _SENTINEL else None

    @property
    def is_cluster(self) -> bool:
        """Say whether keys lie on several nodes."""
        return self.url.scheme == _CLUSTER

    @property
    def partitions(self) -> int | None:
        """Give the number of partitions; on a cluster there are always some, for a script needs one slot."""
        return self.options.partitions or (CLUSTER_PARTITIONS if self.is_cluster else None)

    @property
    def seeds(self) -> list[Address]:
        """Give the addresses that the URL names, the first one first."""
        default_port = SENTINEL_PORT if self.service is not None else DEFAULT_PORT
        return [
            Address(self.url.host, self.url.port or default_port),
            *_parse_nodes(self.options.nodes, default_port),
        ]

    def resolve_sentinel_password(self) -> str | None:
        """Find the sentinels' password, if they want one.

        Raises:
            ConfigError: The variable is not set or the file cannot be read.
        """
        place = BusOptions(
            password_env=self.options.sentinel_password_env, password_file=self.options.sentinel_password_file
        )
        return self.url.resolve_password(place) if place != BusOptions() else None


def _check_unix(url: BusUrl) -> None:
    if url.host or url.port is not None or not url.path.strip("/"):
        raise ConfigError(f"{url}: names no socket; write {_UNIX}:///PATH, with three slashes")


def _database(url: BusUrl, options: RedisOptions) -> int:
    if url.scheme in (_UNIX, _SENTINEL):
        return options.db
    path = url.path.removeprefix("/")
    if not path:
        return options.db
    if not (path.isascii() and path.isdigit()):
        raise ConfigError(f"{url}: {path!r} is no database; write its number, as in {url.scheme}://HOST/2")
    if "db" in url.options:
        raise ConfigError(f"{url}: names the database twice, in the path and as db=; leave one out")
    return int(path)


def _parse_nodes(text: str | None, default_port: int) -> list[Address]:
    """Read `HOST:PORT,HOST:PORT`.

    Raises:
        ValueError: It has another form.
    """
    addresses = []
    for node in text.split(",") if text else ():
        parts = urlsplit(f"//{node.strip()}")
        if not parts.hostname or parts.path or parts.username:
            raise ValueError(node)
        addresses.append(Address(parts.hostname, parts.port or default_port))
    return addresses


def _check_topology(url: BusUrl, options: RedisOptions) -> None:
    """Check what only sentinels and clusters have.

    Raises:
        ConfigError: Something is missing, or has no effect.
    """
    if url.scheme == _SENTINEL and not url.path.strip("/"):
        raise ConfigError(
            f"{url}: names no service; write {_SENTINEL}://HOST/NAME with the sentinels' name for it"
        )
    if url.scheme == _CLUSTER and (url.path.strip("/") or options.db):
        raise ConfigError(f"{url}: a cluster has no databases; leave the number out")
    for name in ("nodes", "tls"):
        if name in url.options and url.scheme not in (_SENTINEL, _CLUSTER):
            raise ConfigError(f"{url}: {name} is for {_SENTINEL}:// and {_CLUSTER}:// only")
    for name in url.options:
        if name.startswith("sentinel_") and url.scheme != _SENTINEL:
            raise ConfigError(f"{url}: {name} is for {_SENTINEL}:// only")
    try:
        _parse_nodes(options.nodes, DEFAULT_PORT)
    except ValueError as error:
        raise ConfigError(f"{url}: nodes: write HOST:PORT,HOST:PORT ({error})") from None


def _check_tls(url: BusUrl, options: RedisOptions, *, encrypted: bool) -> None:
    """Load the certificates once, so that a wrong file is found now.

    Raises:
        ConfigError: TLS options without TLS, or a file that cannot be used.
    """
    given = [name for name in RedisOptions.model_fields if name.startswith("tls_") and name in url.options]
    if given and not encrypted:
        remedy = "add tls=true" if url.scheme in (_SENTINEL, _CLUSTER) else f"write {_TLS}://"
        raise ConfigError(f"{url}: {given[0]} has no effect without TLS; {remedy}")
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
