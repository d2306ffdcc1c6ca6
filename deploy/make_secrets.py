"""Make the passwords of a new installation, once, so that there is no default one.

Standard library only. Run by the service `setup` of compose.yaml before each start: a password that is there stays
as it is. What the brokers read is made of the passwords and of this version's rules, so that they always fit.
"""

import argparse
import hashlib
import re
import secrets
from base64 import b64decode, b64encode
from os import O_CREAT, O_EXCL, O_WRONLY, fdopen
from os import open as open_descriptor
from pathlib import Path
from typing import Final
from urllib.parse import quote

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
    # Nobody can be this user. Yet it must be allowed everything: Redis loads its append-only file in this user's
    # name, and passes over each transaction in it that this user may not do. Source: github.com/redis/redis #14541
    "default": "off resetpass allkeys allchannels +@all",
    "pulse": (
        "on {redis_password} resetkeys ~pulse:* resetchannels -@all +select +script|load +eval +evalsha +get +set"
        " +del +exists +expire +xadd +xrange +xrevrange +hset +hget +hsetnx +hmget +hdel +hscan"
    ),
    # It writes where it has read to, and what it must remember, and nothing else.
    "pulse-reader": (
        "on {redis_reader_password} resetkeys %R~pulse:* ~pulse:group:* ~pulse:lease:* resetchannels -@all +select"
        " +hmget +hgetall +xread +xrange +xrevrange +xinfo|stream +multi +exec +script|load +eval +evalsha +get"
        " +set +del +pexpire +hset +hdel"
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
_SALT_BYTES: Final = 12

_USABLE: Final = re.compile(r"[!-#%-~]+", re.ASCII)
"""Printable ASCII but `$`: Grafana takes that for the begin of a variable's name."""


def make_secrets(folder: Path) -> list[str]:
    """Write what is missing into the folder: a password a file, and what the two brokers and the alerts read.

    Returns:
        The names of the files that were written: none where all was there and fitted.

    Raises:
        OSError: The folder cannot be read or written.
        ValueError: Somebody put a password there that cannot be used; the message names the file.
    """
    written = [name for name in PASSWORDS if not _read(folder / name)]
    for name in written:
        _write(folder / name, secrets.token_urlsafe(24))
    known = {name: _read(folder / name) for name in PASSWORDS}
    for name, password in known.items():
        if not _USABLE.fullmatch(password):
            raise ValueError(
                f"{folder / name}: a password is one word of printable ASCII characters without $; write another,"
                " or delete the file to have one made"
            )
    alerts = quote(known["mqtt_alerts_password"], safe="")
    for name, text in {
        "redis.acl": redis_acl(known),
        "mosquitto.passwd": mosquitto_passwords(known, before=_read(folder / "mosquitto.passwd")),
        "alerts_notify": f"mqtt://alerts:{alerts}@mosquitto/pulse-alerts/all?qos=1",
    }.items():
        if _read(folder / name) != text:
            _write(folder / name, text)
            written.append(name)
    return written


def redis_acl(known: dict[str, str]) -> str:
    """Give the lines of Redis' ACL file. Source: redis.io, "ACL": `#` and the SHA-256 of a password."""
    hashed = {name: "#" + hashlib.sha256(password.encode()).hexdigest() for name, password in known.items()}
    return "\n".join(f"user {user} {rule.format_map(hashed)}" for user, rule in REDIS_USERS.items())


def mosquitto_passwords(known: dict[str, str], *, before: str = "") -> str:
    """Give the lines of mosquitto's password file, in the form that `mosquitto_passwd` writes: PBKDF2, SHA-512.

    Args:
        before: The file's lines as they are; one that is right for its user's password is given again.
    """
    lines = before.splitlines()
    return "\n".join(
        next(
            (line for line in lines if _is_right(line, user, known[name])),
            _mosquitto_line(user, known[name], secrets.token_bytes(_SALT_BYTES)),
        )
        for user, name in MQTT_USERS.items()
    )


def _is_right(line: str, user: str, password: str) -> bool:
    found = re.fullmatch(r"[^:]+:\$7\$\d+\$((?:[\w+/]{4})+)\$.*", line, re.ASCII)
    return found is not None and line == _mosquitto_line(user, password, b64decode(found[1]))


def _mosquitto_line(user: str, password: str, salt: bytes) -> str:
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, _MQTT_ROUNDS)
    return f"{user}:$7${_MQTT_ROUNDS}${b64encode(salt).decode()}${b64encode(digest).decode()}"


def _read(path: Path) -> str:
    """Read a file; one that is not there is empty."""
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except FileNotFoundError:
        return ""


def _write(path: Path, text: str) -> None:
    """Write a file that its owner and group may read, whole or not at all."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    with fdopen(open_descriptor(fresh, O_WRONLY | O_CREAT | O_EXCL, 0o640), "w", encoding="ascii") as file:
        file.write(f"{text}\n")
    fresh.chmod(0o640)  # whatever the umask
    fresh.replace(path)


def main() -> None:
    """Make what is missing in the folder named on the command line, and say how to come by it."""
    parser = argparse.ArgumentParser(description="Make the passwords of a new installation.")
    parser.add_argument("folder", type=Path, help="where they are kept")
    try:
        written = make_secrets(parser.parse_args().folder)
    except OSError as error:
        parser.exit(1, f"the passwords cannot be made: {error}\n")
    except ValueError as error:
        parser.exit(2, f"{error}\n")
    if not written:
        print("the passwords are there already")
    elif set(PASSWORDS) <= set(written):
        print("new passwords were made")
    else:
        print(f"made anew: {', '.join(written)}; who runs already learns of it by: docker compose restart")
    print("the page's token:   docker compose exec web cat /secrets/web_token")
    print("Grafana's password: docker compose exec web cat /secrets/grafana_password (the user is admin)")


if __name__ == "__main__":
    main()
