"""Redis (6.2 or newer) and Valkey as a bus: publishing on streams, and reading them back.

    redis://HOST          rediss://HOST?tls_ca=ca.pem          redis+unix:///run/redis/redis.sock?db=2
    redis+sentinel://SENTINEL/NAME?nodes=SENTINEL2:26379       redis+cluster://NODE?nodes=NODE2:6379

A user who may do nothing else suffices. With the prefix `pulse` (`redis://pulse@HOST?password_file=/run/secret`):

    ACL SETUSER pulse on >SECRET resetkeys ~pulse:* resetchannels -@all +select +script|load +eval +evalsha
        +get +set +del +exists +expire +xadd +xrange +xrevrange +hset +hget +hsetnx +hmget +hdel +hscan

(one line), and for who only reads, with what a subscriber group needs to keep its place:

    ACL SETUSER pulse-reader on >SECRET resetkeys ~pulse:* resetchannels -@all +select +hmget +hgetall +xread
        +xrange +xrevrange +xinfo|stream +multi +exec +script|load +eval +evalsha +get +set +del +pexpire +hset
        +hdel

`+select` is needed only where the URL names a database, and `+cluster|slots` only on a cluster.

Where a thing is: `bus.py` the port; `options.py` the URL; `keys.py` the names of the keys; `script.py` what is
done on the server, `packing.py` commands as bytes; `topology.py` which server has which keys, `connection.py`
redis-py and its errors; `channel.py` commands and replies in order, `channels.py` one for each server;
`publisher.py`, `presence.py` and `sweep.py` what a sidecar does; `history.py` reading
what was, and `job_entries.py` what a job's own stream says of it; `consumer.py` reading live, `reader.py` one
stream of it, `cursor.py` a place in one and `entries.py` what stands there; `group.py` what a subscriber group
keeps and `lease.py` whose turn it is.
"""

from pulse_bridge_redis.bus import RedisBus

__all__ = ["RedisBus"]
