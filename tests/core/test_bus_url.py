import string
from pathlib import Path
from typing import Literal
from urllib.parse import quote

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pulse_bridge.bus import open_bus
from pulse_bridge.bus_url import BusOptions, BusUrl, hide_secret
from pulse_bridge.errors import ConfigError

SECRET = "hunter2"


class Options(BusOptions):
    prefix: str = "pulse"
    version: Literal["5", "3.1.1"] = "5"
    limit: int = 1


def test_a_url_is_taken_apart_and_decoded() -> None:
    url = BusUrl.parse("MQTTS://us%40er:p%2Fw%3A@Example.ORG:8883/a%20b?prefix=x%26y&version=5")
    assert url == BusUrl(
        scheme="mqtts",
        host="example.org",
        port=8883,
        username="us@er",
        password="p/w:",
        path="/a b",
        options={"prefix": "x&y", "version": "5"},
    )


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("redis://h", "redis://h"),
        ("redis://h:6379/2?prefix=x", "redis://h:6379/2?prefix=x"),
        ("redis://[::1]:6379", "redis://[::1]:6379"),
        ("redis://:hunter2@h", "redis://:***@h"),
        ("redis://me:hunter2@h", "redis://me:***@h"),
        ("redis://me:@h", "redis://me:***@h"),
        ("redis://h?password_env=REDIS_PW", "redis://h?password_env=REDIS_PW"),
        ("redis://h?password_file=/run/secrets/pw", "redis://h?password_file=/run/secrets/pw"),
        ("journal:///var/lib/a%20b.db", "journal:///var/lib/a%20b.db"),
        ("redis+unix:///run/redis.sock", "redis+unix:///run/redis.sock"),
    ],
)
def test_a_url_is_shown_without_its_secret_and_otherwise_as_it_was(text: str, shown: str) -> None:
    assert str(BusUrl.parse(text)) == shown


@given(
    scheme=st.sampled_from(["redis", "mqtts", "redis+unix"]),
    user=st.text(string.printable, max_size=8),
    password=st.text(string.printable, max_size=8),
    path=st.text(string.printable, max_size=8),
    prefix=st.text(string.printable, max_size=8),
)
def test_what_is_quoted_comes_back_and_its_shown_form_can_be_parsed(
    scheme: str, user: str, password: str, path: str, prefix: str
) -> None:
    text = (
        f"{scheme}://{quote(user, safe='')}:{quote(password, safe='')}@h/{quote(path, safe='')}"
        f"?prefix={quote(prefix, safe='')}"
    )
    url = BusUrl.parse(text)
    assert (url.username or "", url.password, url.path) == (user, password, "/" + path)
    assert url.options == {"prefix": prefix}
    again = BusUrl.parse(str(url))
    assert (again.path, again.options, again.password) == (url.path, url.options, "***")


SHAPES = (
    "{scheme}://{user}:{password}@{host}",
    "{scheme}://:{password}@{host}:6379/0",
    "{scheme}://{user}:{password}@{host}:port",
    "{scheme}://{user}:{password}@[::1",
    "{scheme}://{user}:{password}@",
    "{scheme}:{user}:{password}@{host}",
    "{scheme}:/{user}:{password}@{host}",
    "{scheme}//{user}:{password}@{host}",
    "{user}:{password}@{host}",
    "{user}:{password}@{scheme}://{host}",
    "{scheme}://{user}:{password}@{host}?prefix=a&prefix=b",
    "{scheme}://{user}:{password}@{host}?nonsense",
    "{scheme}://{user}:{password}@{host}?nonsense=1",
    "{scheme}://{user}:{password}@{host}#fragment",
    "{scheme}://{host}?password={password}",
    "{scheme}://{host}?Password={password}&prefix=x",
    "{scheme}://{host}?passwd={password}",
    "{scheme}://{host}?prefix=x&token={password}",
    "{scheme}://{host}?api_token={password}",
    "{scheme}://{host}?client_secret={password}#x",
    "{scheme}://{host}:1?pass%77ord={password}",
)
# A part of a password is a secret, too: whatever stands before and behind a sign that has a meaning in URLs.
SIGNS = st.sampled_from(
    ["", "/", "?", "#", "@", ":", "[", "]", "%", "%2", " ", "\\", "\t", "é", "ǆ", "&", "=", "1/"]
)


def errors_of(text: str) -> str:
    """Give everything that could be shown of a URL."""
    said = [hide_secret(text)]
    try:
        url = BusUrl.parse(text)
        said += [str(url), repr(url)]
        url.parse_options(Options)
    except ConfigError as error:
        said.append(str(error))
    try:
        said.append(str(open_bus(text)))
    except ConfigError as error:
        said.append(str(error))
    return "\n".join(said)


@settings(deadline=None)  # the first of them imports the adapters
@given(
    shape=st.sampled_from(SHAPES),
    scheme=st.sampled_from(["redis", "mqtt", "kafka", "journal", "re dis", "redis+unix"]),
    host=st.sampled_from(["h", "", "::1", "[::1]", "h:99999", "h:x", "℀"]),
    signs=st.tuples(SIGNS, SIGNS, SIGNS),
)
@example(shape=SHAPES[0], scheme="redis", host="h", signs=("", "/", ""))
@example(shape=SHAPES[0], scheme="redis", host="h", signs=("1", "?", ""))
@example(shape=SHAPES[0], scheme="redis", host="h", signs=("", "#", ""))
@example(shape=SHAPES[0], scheme="redis", host="h", signs=("[", "", ""))
def test_no_secret_is_ever_shown_however_malformed_the_url_is(
    shape: str, scheme: str, host: str, signs: tuple[str, str, str]
) -> None:
    first, second = "s3cret", "Hunter2"
    if "?" in shape.partition("{password}")[0]:
        # In an option a '&' does end the value; nobody can know what follows.
        signs = tuple("" if sign in {"&", "#"} else sign for sign in signs)  # type: ignore[assignment]  # three again
    password = f"{signs[0]}{first}{signs[1]}{second}{signs[2]}"
    said = errors_of(shape.format(scheme=scheme, user="me", password=password, host=host))
    assert first not in said
    assert second.lower() not in said.lower()


def test_a_text_that_is_no_url_and_has_no_sign_of_a_secret_is_shown_as_it_is() -> None:
    assert hide_secret("./runs/recording.json") == "./runs/recording.json"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("redis://h:99999", "no bus URL: the host or port is wrong"),
        ("redis://h:port", "no bus URL: the host or port is wrong"),
        ("redis://me:p/w@h", "as %XX"),
        ("redis://me:1/w@h", "inside a bus URL write '@' as %40"),
        ("redis://h/0#x", "write '#' as %23"),
        ("redis://h?prefix=a&prefix=b", "the option 'prefix' stands there twice"),
        ("redis://h?prefix", "behind the '\\?' stands NAME=VALUE"),
        ("://h", "it has no scheme; write redis://HOST or mqtt://HOST"),
    ],
)
def test_what_is_no_bus_url_is_refused_with_the_remedy(text: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        BusUrl.parse(text)


def test_options_are_validated_with_the_adapter_s_model() -> None:
    options = BusUrl.parse("redis://h?prefix=x&limit=5").parse_options(Options)
    assert options == Options(prefix="x", limit=5)


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("prefx=x", "unknown option 'prefx'; known are: limit, password_env, password_file, prefix, version"),
        ("limit=many", "option 'limit': Input should be a valid integer"),
        ("version=4", "option 'version': Input should be '5' or '3.1.1'"),
    ],
)
def test_a_wrong_option_is_named_with_the_url(query: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=rf"^redis://me:\*\*\*@h\?.*: {sentence}"):
        BusUrl.parse(f"redis://me:hunter2@h?{query}").parse_options(Options)


def test_a_password_comes_from_the_url_the_environment_or_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "password"
    file.write_text(SECRET + "\r\n")
    monkeypatch.setenv("BUS_PASSWORD", SECRET)
    for text in (f"redis://:{SECRET}@h", "redis://h?password_env=BUS_PASSWORD", f"redis://h?password_file={file}"):
        url = BusUrl.parse(text)
        assert url.resolve_password(url.parse_options(BusOptions)) == SECRET
    url = BusUrl.parse("redis://h")
    assert url.resolve_password(BusOptions()) is None


def test_a_rotated_password_file_is_read_anew(tmp_path: Path) -> None:
    file = tmp_path / "password"
    url = BusUrl.parse(f"redis://h?password_file={file}")
    options = url.parse_options(BusOptions)
    for password in ("old", "new"):
        file.write_text(password)
        assert url.resolve_password(options) == password


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("password_env=NOT_SET_ANYWHERE", "the environment variable NOT_SET_ANYWHERE is not set"),
        ("password_file=/nowhere/at/all", "the password file /nowhere/at/all cannot be read"),
    ],
)
def test_a_password_that_is_not_there_names_the_place(query: str, sentence: str) -> None:
    url = BusUrl.parse(f"redis://h?{query}")
    with pytest.raises(ConfigError, match=sentence):
        url.resolve_password(url.parse_options(BusOptions))


def test_a_destination_stays_the_same_over_changes_of_login_and_options() -> None:
    identity = BusUrl.parse("redis://h:6379/1?prefix=x").identity
    assert BusUrl.parse("redis://me:new@h:6379/1?prefix=x&password_env=Y").identity == identity
    others = [
        "redis://h:6379/2?prefix=x",
        "redis://h:6380/1?prefix=x",
        "redis://h:6379/1?prefix=y",
        "redis://h:6379/1?prefix=x&db=3",
        "mqtt://h:6379/1",
    ]
    assert len({identity, *(BusUrl.parse(other).identity for other in others)}) == 6
