"""Redis (6.2 or newer) and Valkey as a bus: publishing on streams, and reading them back.

    redis://HOST          rediss://HOST?tls_ca=ca.pem          redis+unix:///run/redis/redis.sock?db=2

A user who may do nothing else suffices. With the prefix `pulse` (`redis://pulse@HOST?password_file=/run/secret`):

    ACL SETUSER pulse on >SECRET resetkeys ~pulse:* resetchannels -@all +select +script|load +eval +evalsha
        +get +set +del +exists +expire +xadd +xrange +xrevrange +hset +hget +hsetnx +hmget +hdel +hscan

(one line). `+select` is needed only where the URL names a database.

Where a thing is: `bus.py` the port; `options.py` the URL; `keys.py` the names of the keys; `script.py` what is
done on the server, `packing.py` commands as bytes; `connection.py` redis-py and its errors; `channel.py` commands
and replies in order; `publisher.py`, `presence.py` and `sweep.py` what a sidecar does; `history.py` reading.
"""

from pulse_bridge_redis.bus import RedisBus

__all__ = ["RedisBus"]
