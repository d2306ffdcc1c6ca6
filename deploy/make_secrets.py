"""Make the passwords of a new installation, once, so that there is no default one.

Standard library only. Run by the service `setup` of compose.yaml; what is there already stays as it is.
"""

import hashlib
import os
import secrets
import sys
from base64 import b64encode
from pathlib import Path
from typing import Final

PASSWORDS: Final = (
    "redis_password",
    "redis_reader_password",
    "redis_grafana_password",
    "mqtt_password",
    "mqtt_alerts_password",
    "mqtt_grafana_password",
    "mqtt_homeassistant_password",
    "web_token",
    "grafana_password",
)

REDIS_USERS: Final = {
    # Who has not logged in may be told that the server is alive.
    "default": "on nopass resetkeys resetchannels -@all +ping",
    "pulse": (
        "on {redis_password} resetkeys ~pulse:* resetchannels -@all +select +script|load +eval +evalsha +get +set"
        " +del +exists +expire +xadd +xrange +xrevrange +hset +hget +hsetnx +hmget +hdel +hscan"
    ),
    "pulse-reader": (
        "on {redis_reader_password} resetkeys ~pulse:* resetchannels -@all +select +hmget +hgetall +xread +xrange"
        " +xrevrange +xinfo|stream +multi +exec +script|load +eval +evalsha +get +set +del +pexpire +hset +hdel"
    ),
    "grafana": (
        "on {redis_grafana_password} resetkeys %R~pulse:* resetchannels -@all +ping +select +hvals +hget +hkeys"
        " +hgetall +xrange +xrevrange +ttl"
    ),
}

MQTT_USERS: Final = {
    "pulse": "mqtt_password",
    "alerts": "mqtt_alerts_password",
    "grafana": "mqtt_grafana_password",
    "homeassistant": "mqtt_homeassistant_password",
}
_MQTT_ROUNDS: Final = 1000


def make_secrets(folder: Path) -> bool:
    """Write what is missing into the folder: a password a file, and what the two brokers read.

    Returns:
        Whether anything was missing.
    """
    missing = [name for name in PASSWORDS if not (folder / name).exists()]
    for name in missing:
        _write(folder / name, secrets.token_urlsafe(24))
    known = {name: (folder / name).read_text(encoding="ascii").strip() for name in PASSWORDS}
    if missing:
        _write(folder / "redis.acl", redis_acl(known))
        _write(folder / "mosquitto.passwd", mosquitto_passwords(known))
        _write(
            folder / "alerts_notify",
            f"mqtt://alerts:{known['mqtt_alerts_password']}@mosquitto/pulse-alerts/all?qos=1",
        )
    return bool(missing)


def redis_acl(known: dict[str, str]) -> str:
    """Give the lines of Redis' ACL file. Source: redis.io, "ACL": `#` and the SHA-256 of a password."""
    hashed = {name: "#" + hashlib.sha256(password.encode()).hexdigest() for name, password in known.items()}
    return "\n".join(f"user {user} {rule.format_map(hashed)}" for user, rule in REDIS_USERS.items())


def mosquitto_passwords(known: dict[str, str]) -> str:
    """Give the lines of mosquitto's password file, in the form that `mosquitto_passwd` writes: PBKDF2, SHA-512."""
    lines = []
    for user, name in MQTT_USERS.items():
        salt = secrets.token_bytes(12)
        digest = hashlib.pbkdf2_hmac("sha512", known[name].encode(), salt, _MQTT_ROUNDS)
        lines.append(f"{user}:$7${_MQTT_ROUNDS}${b64encode(salt).decode()}${b64encode(digest).decode()}")
    return "\n".join(lines)


def _write(path: Path, text: str) -> None:
    """Write a file that its owner and group may read, whole or not at all."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640), "w", encoding="ascii") as file:
        file.write(f"{text}\n")
    fresh.chmod(0o640)  # whatever the umask
    fresh.replace(path)


def main() -> None:
    """Make what is missing in the folder named on the command line, and say how to come by it."""
    try:
        made = make_secrets(Path(sys.argv[1]))
    except OSError as error:
        sys.exit(f"the passwords cannot be written: {error}")
    print("new passwords were made" if made else "the passwords are there already")
    print("the page's token:   docker compose exec web cat /secrets/web_token")
    print("Grafana's password: docker compose exec web cat /secrets/grafana_password (the user is admin)")


if __name__ == "__main__":
    main()
