"""The names of our keys in Redis: pure.

Without partitions every key starts with the prefix: `pulse:events`. With `?partitions=N` a host's keys start
with `pulse:{k}`, k = crc32(host) mod N; Redis hashes only what stands in the braces, so that on a cluster all
keys of one host, and so all keys of one script, lie in one slot.

`<prefix>:meta` stands above the partitions: it says how many there are, so it must be found without knowing.
No script touches it together with another key, so it may lie in another slot.

Source: Redis Cluster specification, "Hash tags".
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Final
from zlib import crc32

from pulse_bridge.errors import ConfigError

LAYOUT_VERSION: Final = 1
"""What stands in the meta hash; raised when a reader of the old layout would misread the new one."""


@dataclass(frozen=True)
class Keys:
    """The keys of one partition, or of all hosts where there are none.

    Args:
        root: What each name starts with: `pulse`, or `pulse:{3}`.
        swept_field: The field of the meta hash that says when this partition was last swept.
    """

    root: str
    swept_field: str = "swept_at"

    @cached_property
    def events(self) -> str:
        """Name the stream of every event."""
        return f"{self.root}:events"

    @cached_property
    def state(self) -> str:
        """Name the hash of each job's last event."""
        return f"{self.root}:state"

    def seq(self, producer: str) -> str:
        """Name the last seq published by a producer."""
        return f"{self.root}:seq:{producer}"

    def job(self, host: str, job: str) -> str:
        """Name the stream of one job's changes; a host has no `/` and no rule forbids `:` in either."""
        return f"{self.root}:job:{host}:{job}"

    def host(self, host: str) -> str:
        """Name the sign of life of a host's sidecar."""
        return f"{self.root}:host:{host}"

    def group(self, group: str) -> str:
        """Name the hash of a consumer group; only of the first partition, for all of them."""
        return f"{self.root}:group:{group}"

    def lease(self, group: str) -> str:
        """Name the lock of a group's one holder; it lies beside the group's hash."""
        return f"{self.root}:lease:{group}"


def state_field(host: str, job: str) -> str:
    """Name a job's field in the state hash."""
    return f"{host}/{job}"


@dataclass(frozen=True)
class Layout:
    """How the keys lie.

    Args:
        prefix: 1 to 12 bytes.
        partitions: How many, or None for keys without braces.
    """

    prefix: str
    partitions: int | None = None

    @property
    def meta(self) -> str:
        """Name the hash that describes the layout."""
        return f"{self.prefix}:meta"

    @property
    def meta_fields(self) -> dict[str, str]:
        """Give what must stand in the meta hash; `partitions` is 0 where keys have no braces."""
        return {"layout": str(LAYOUT_VERSION), "partitions": str(self.partitions or 0)}

    def require(self, found: Sequence[bytes | None], shown: str) -> None:
        """Compare with what stands in the meta hash; nothing there is fine.

        Args:
            found: The values of `meta_fields`, in order.
            shown: The destination, without a secret.

        Raises:
            ConfigError: The prefix is in use with another layout.
        """
        for (name, wanted), stored in zip(self.meta_fields.items(), found, strict=True):
            text = wanted if stored is None else stored.decode(errors="replace")
            if text != wanted:
                raise ConfigError(
                    f"{shown}: {self.meta} in Redis says {name} = {text}, and this URL means {wanted}"
                    f"{' (0: none)' if name == 'partitions' else ''}; write the same for everyone, "
                    "or use another prefix"
                )

    def of_host(self, host: str) -> Keys:
        """Give the keys of a host."""
        if self.partitions is None:
            return _keys(self.prefix, None)
        return _keys(self.prefix, crc32(host.encode(errors="surrogatepass")) % self.partitions)

    def all(self) -> list[Keys]:
        """Give every partition's keys, in order."""
        if self.partitions is None:
            return [_keys(self.prefix, None)]
        return [_keys(self.prefix, number) for number in range(self.partitions)]


@lru_cache(maxsize=2048)
def _keys(prefix: str, partition: int | None) -> Keys:
    if partition is None:
        return Keys(prefix)
    return Keys(f"{prefix}:{{{partition}}}", f"swept_at_{partition}")
