"""How many connections there may be, in all and from one address; pure."""

from collections import Counter
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

_SPARE: Final = 100
"""So many more are taken to be answered with a refusal; behind those they are closed unanswered."""

_SPARE_OF_ADDRESS: Final = 10
_SHARE: Final = 4
_NETWORK_BYTES: Final = 8
"""Of an IPv6 address: whoever has one has all those that begin alike. Source: RFC 4291 §2.5.1."""


class Room:
    """Counts connections.

    Args:
        most: So many are served at once.
        most_of_address: So many of them from one address. None: a quarter from another machine, and no limit from
            this one, where a reverse proxy speaks for everybody.
    """

    def __init__(self, most: int, most_of_address: int | None = None) -> None:
        self._most = most
        self._most_of_address = most_of_address
        self._all = 0
        self._of_address: Counter[str] = Counter()

    def enter(self, address: str) -> int:
        """Count a connection in, and give the place that it has among those of its address.

        Args:
            address: The other end's IP address.
        """
        self._all += 1
        key = _key(address)
        self._of_address[key] += 1
        return self._of_address[key]

    def leave(self, address: str) -> None:
        """Count a connection out."""
        self._all -= 1
        key = _key(address)
        self._of_address[key] -= 1
        if not self._of_address[key]:
            del self._of_address[key]

    def refusal(self, address: str, place: int) -> str | None:
        """Say why a request is not answered now; None where it is.

        Args:
            place: What `enter` gave.
        """
        if self._all > self._most:
            return "there are too many connections; ask again in a moment"
        if place > self._limit(address):
            return "there are too many connections from your address; close some, or ask again in a moment"
        return None

    def is_crammed(self, address: str, place: int) -> bool:
        """Say whether a new connection must go at once: even refusals have their limit."""
        return self._all > self._most + _SPARE or place > self._limit(address) + _SPARE_OF_ADDRESS

    def _limit(self, address: str) -> int:
        if self._most_of_address is not None:
            return self._most_of_address
        return self._most if _is_here(address) else max(1, self._most // _SHARE)


def _is_here(address: str) -> bool:
    try:
        return _parse(address).is_loopback
    except ValueError:
        return False


def _key(address: str) -> str:
    try:
        parsed = _parse(address)
    except ValueError:
        return address
    return parsed.packed[:_NETWORK_BYTES].hex() if isinstance(parsed, IPv6Address) else str(parsed)


def _parse(address: str) -> IPv4Address | IPv6Address:
    parsed = ip_address(address.partition("%")[0])
    return (parsed.ipv4_mapped or parsed) if isinstance(parsed, IPv6Address) else parsed
