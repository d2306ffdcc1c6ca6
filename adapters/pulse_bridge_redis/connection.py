"""One connection to Redis, made from a URL; redis-py's errors end here.

redis-py's `Connection` brings TLS, login and parsing. Its command layer is left out: it costs 0.4 ms and two to
three times the rate, and it repeats commands by itself, which doubles entries.
"""

import asyncio
import re
from typing import Any, Final

from redis.asyncio.connection import AbstractConnection, Connection, SSLConnection, UnixDomainSocketConnection
from redis.exceptions import (
    AskError,
    AuthenticationError,
    BusyLoadingError,
    ClusterDownError,
    MasterDownError,
    MovedError,
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)

from pulse_bridge.errors import BusUnavailableError, ConfigError
from pulse_bridge_redis.options import Address, Target

CONNECT_TIMEOUT_S: Final = 5.0


class _Direct(AbstractConnection):
    """What redis-py's connection lacks: writing in the call, and ending without waiting for the peer."""

    def write(self, data: bytes) -> None:
        """Write now, as far as the socket takes it; the transport keeps the rest and goes on by itself.

        redis-py's own `send_packed_command` is a coroutine because it waits while the peer is slow. Here
        whoever awaits the replies waits, so a batch goes from wake-up to socket with no turn of the loop.
        """
        if self._writer is not None:
            self._writer.write(data)

    def cut(self) -> None:
        """Close the socket now, whatever is still to be written; a read that waits ends with an error."""
        if self._writer is not None:
            self._writer.transport.abort()

    async def abort(self) -> None:
        """End the connection at once; never waits for the peer."""
        self.cut()
        await self.disconnect(nowait=True)


class _TcpConnection(_Direct, Connection):
    pass


class _TlsConnection(_Direct, SSLConnection):
    pass


class _UnixConnection(_Direct, UnixDomainSocketConnection):
    pass


RedisConnection = _TcpConnection | _TlsConnection | _UnixConnection


async def connect(
    target: Target, address: Address | None = None, *, reply_timeout_s: float | None = None
) -> RedisConnection:
    """Connect, log in and choose the database.

    Args:
        address: Of a server, as `topology.py` finds it; None for the one that the URL names.
        reply_timeout_s: How long a read may take, in seconds; None where the caller keeps watch itself.

    Raises:
        BusUnavailableError: Not possible now, or refused; try again.
    """
    connection = _make(target, address or target.seeds[0], _password(target), reply_timeout_s)
    try:
        if isinstance(connection, SSLConnection):
            # Reading the system's authorities takes some 10 ms of disk and CPU; the result is kept.
            await asyncio.to_thread(connection.ssl_context.get)
        await connection.connect()  # type: ignore[no-untyped-call]  # redis-py has no hints there
    except (RedisError, OSError) as error:
        await connection.abort()
        raise unavailable(error, target) from error
    except BaseException:
        await connection.abort()
        raise
    return connection


def _password(target: Target) -> str | None:
    try:
        return target.url.resolve_password(target.options)
    except ConfigError as error:
        # It could be read when the program started, so it is being rotated: that heals.
        raise BusUnavailableError(str(error), refused=True) from error


def _make(
    target: Target, address: Address, password: str | None, reply_timeout_s: float | None
) -> RedisConnection:
    url = target.url
    common: dict[str, Any] = {
        "db": target.db,
        "username": url.username,
        "password": password,
        "socket_timeout": reply_timeout_s,
        "socket_connect_timeout": CONNECT_TIMEOUT_S,
        "protocol": 2,  # no HELLO, no push messages: replies come in order and nothing else does
        "driver_info": None,  # no CLIENT SETINFO, which a limited user may not call
    }
    if target.socket_path is not None:
        return _UnixConnection(path=target.socket_path, **common)
    common |= {"host": address.host, "port": address.port, "socket_keepalive": True}
    if not target.uses_tls:
        return _TcpConnection(**common)
    return _TlsConnection(**tls_arguments(target), **common)


def tls_arguments(target: Target) -> dict[str, Any]:
    """Give what redis-py's connections take for TLS."""
    options = target.options
    return {
        "ssl_ca_certs": options.tls_ca,
        "ssl_certfile": options.tls_cert,
        "ssl_keyfile": options.tls_key,
        "ssl_cert_reqs": "none" if options.tls_insecure else "required",
        "ssl_check_hostname": not options.tls_insecure,
        "ssl_password": "",  # as in options.py: never ask on the terminal
    }


# redis-py takes the code off the texts of the errors that it has a class for.
_CODES: Final[tuple[tuple[type[RedisError], str], ...]] = (
    (OutOfMemoryError, "OOM"),
    (NoPermissionError, "NOPERM"),
    (ReadOnlyError, "READONLY"),
    (BusyLoadingError, "LOADING"),
    (AuthenticationError, "NOAUTH"),
    (MasterDownError, "MASTERDOWN"),
    (NoScriptError, "NOSCRIPT"),
    (MovedError, "MOVED"),
    (AskError, "MOVED"),
    (TryAgainError, "MOVED"),
    (ClusterDownError, "CLUSTERDOWN"),
)
# Before Redis 7 an error inside a script is an ERR with the code somewhere in its text; ACL refusals inside a
# script are sentences.
_CODE_IN_TEXT: Final = re.compile(
    r"\b(OOM|NOPERM|READONLY|LOADING|MASTERDOWN|MISCONF|WRONGTYPE|NOREPLICAS|FORGOTTEN)\b"
    r"|(The user executing the script can't|No permissions)|(max number of clients)"
)
_SENTENCES: Final = {
    "OOM": "has no memory left (OOM); raise its maxmemory, or let it evict",
    "NOPERM": "gives this user too few rights (NOPERM); the ACL lines in pulse_bridge_redis name them all",
    "READONLY": "is a read-only replica (READONLY); name the primary",
    "NOAUTH": "refused the login; check the user name and the password",
    "MASTERDOWN": "is a replica without its primary (MASTERDOWN)",
    "MISCONF": "cannot save to its disk and takes no writes (MISCONF); free or mend its disk",
    "NOREPLICAS": "has too few replicas and takes no writes (NOREPLICAS)",
    "CLIENTS": "has no room for another client; raise its maxclients",
}
_NOT_A_REFUSAL: Final = {
    "NOSCRIPT": "forgot our script; connecting anew loads it again",
    "FORGOTTEN": "forgot what it had acknowledged",
    # Heals by itself, within moments of most restarts: to wait as for a person would cost half a minute each time.
    "LOADING": "is still loading its data (LOADING)",
    "MOVED": "moved our keys to another node",
    "CLUSTERDOWN": "is a cluster that cannot serve all its keys now (CLUSTERDOWN)",
}


def unavailable(error: Exception, target: Target) -> BusUnavailableError:
    """Say in one sentence what an error of redis-py means to the relay."""
    code = _code(error)
    if code in _NOT_A_REFUSAL:
        return BusUnavailableError(f"{target.url} {_NOT_A_REFUSAL[code]}")
    if code in _SENTENCES:
        return BusUnavailableError(f"{target.url} {_SENTENCES[code]}", refused=True)
    if code == "WRONGTYPE":
        sentence = f"{target.url}: a key of ours holds something else (WRONGTYPE); use another prefix: {error}"
        return BusUnavailableError(sentence, refused=True)
    if isinstance(error, ResponseError):
        return BusUnavailableError(f"{target.url} refused: {error}", refused=True)
    return BusUnavailableError(f"{target.url} cannot be reached: {error}")


def says_too_few_rights(text: str) -> bool:
    """Say whether what Redis said, perhaps inside a script, is that a user may not do something."""
    return _code(ResponseError(text)) == "NOPERM"


def _code(error: BaseException | None) -> str | None:
    # On a Unix socket redis-py wraps the refusal of a login into a ConnectionError.
    while error is not None:
        for kind, code in _CODES:
            if isinstance(error, kind):
                return code
        found = _CODE_IN_TEXT.search(str(error))
        if found:
            return found[1] or ("NOPERM" if found[2] else "CLIENTS")
        error = error.__cause__
    return None
