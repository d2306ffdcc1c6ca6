"""Who may ask for the page, and what a browser may do with it: over real HTTP."""

import asyncio
import logging
import re
import socket
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from pulse_bridge.errors import ConfigError
from pulse_bridge.subscriber import SubscriberUrl
from pulse_bridge.testing import make_host_event, make_job_event
from pulse_bridge_web import WebSubscriber, connection, server
from pulse_bridge_web.room import Room
from pulse_bridge_web.safety import HostNames
from tests.support.processes import free_port, wait_until, wait_until_async
from tests.support.web import ask_raw, refusal, serving

TOKEN = "correct-horse-battery-staple"
EVERYTHING = (
    "/",
    "/jobs/node1/a",
    "/static/index.html",
    "/api/jobs",
    "/api/jobs/node1/a",
    "/healthz",
    "/openapi.json",
)


# Where it listens


async def test_it_listens_on_loopback_unless_told_otherwise() -> None:
    async with serving(make_job_event(1)) as page:
        assert page.subscriber.address == f"http://127.0.0.1:{page.port}/"
        own = [address for address in _addresses() if not address.startswith("127.")]
        for address in own:
            with socket.socket() as probe:
                assert probe.connect_ex((address, page.port)) != 0


def _addresses() -> set[str]:
    try:
        return {str(found[4][0]) for found in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)}
    except socket.gaierror:
        return set()


async def test_beyond_loopback_it_asks_for_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    sentence = await refusal(bind="0.0.0.0")
    assert re.fullmatch(
        r"web\?port=\d+&bind=0\.0\.0\.0: bind=0\.0\.0\.0 lets other machines read every job:"
        r" name an environment variable that holds a token with token_env=NAME, or a file with token_file=PATH",
        sentence,
    )
    monkeypatch.setenv("PAGE_TOKEN", TOKEN)
    async with serving(bind="0.0.0.0", token_env="PAGE_TOKEN") as page:
        assert (await page.get("/api/jobs")).status_code == 401


async def test_a_port_that_is_taken_is_a_sentence() -> None:
    async with serving() as page:
        sentence = await refusal(port=str(page.port))
        assert sentence.endswith(
            f"port {page.port} of 127.0.0.1 is in use by another program; choose another with port=NUMBER"
        )


async def test_an_address_that_is_not_ours_is_a_sentence() -> None:
    assert "this machine has no address '192.0.2.1' to listen on" in await refusal(
        bind="192.0.2.1", token_file=__file__
    )


async def test_any_free_port_is_taken_where_none_is_named() -> None:
    subscriber = WebSubscriber(SubscriberUrl.parse("web?port=0"))
    async with subscriber.lifespan(), httpx.AsyncClient(base_url=subscriber.address) as client:
        assert (await client.get("/healthz")).status_code == 503


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ("port=99999", "option 'port': Input should be less than or equal to 65535"),
        ("base_path=pulse", "option 'base_path': Value error, a base path looks like /pulse"),
        ("base_path=/a/../b", "option 'base_path': Value error, a base path looks like /pulse"),
        ("embed=example.org", "option 'embed': Value error, 'example.org' is no origin"),
        ("origins=https://example.org/x", "option 'origins': Value error, 'https://example.org/x' is no origin"),
        ("origins=*", "option 'origins': Value error, '*' is no origin"),
        (
            "prot=1",
            "unknown option 'prot'; known are: base_path, bind, embed, fd, hosts, max_connections",
        ),
    ],
)
def test_a_wrong_option_is_a_sentence(options: str, sentence: str) -> None:
    with pytest.raises(ConfigError) as error:
        WebSubscriber(SubscriberUrl.parse(f"web?{options}"))
    assert sentence in str(error.value)


@pytest.fixture
def token_file(tmp_path: Path) -> str:
    path = tmp_path / "token"
    path.write_text(f"{TOKEN}\n")
    return str(path)


# The name


async def test_a_name_that_is_not_ours_is_refused() -> None:
    async with serving(make_job_event(1), hosts="pulse.example.org, Other.Example") as page:
        for host in (
            "evil.example",
            "evil.example:80",
            "127.0.0.1.evil.example",
            "localhost@evil.example",
            "",
        ):
            for path in (*EVERYTHING, "/events"):
                answer = await page.get(path, host=host)
                assert answer.status_code == 421, host
                assert "hosts=NAME" in answer.text
        for host in (
            "localhost:9",
            "LOCALHOST",
            "127.0.0.1",
            "[::1]:80",
            "pulse.example.org",
            "other.example:443",
        ):
            assert (await page.get("/api/jobs", host=host)).status_code == 200, host
        twice = b"GET /api/jobs HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\nConnection: close\r\n\r\n"
        assert re.match(rb"HTTP/1.1 4\d\d ", await ask_raw(page.port, twice))
        none = b"GET /api/jobs HTTP/1.0\r\n\r\n"
        assert (await ask_raw(page.port, none)).startswith(b"HTTP/1.1 421 ")


def test_addresses_and_this_machine_are_no_strangers() -> None:
    names = HostNames(["pulse.example.org"])
    for host in (socket.gethostname(), "10.0.0.7:8321", "[fe80::1]", "app.localhost", "pulse.example.org."):
        assert names.allows(host), host
    for host in ("localhost.evil.example", "pulse.example.org.evil", "[not-an-address]", "a b", "::1"):
        assert not names.allows(host), host


# What a browser may do with it


async def test_every_answer_has_the_safety_headers() -> None:
    async with serving(make_job_event(1)) as page:
        for path in (*EVERYTHING, "/nothing", "/api/jobs/x/y"):
            _check_headers((await page.get(path)).headers)
        _check_headers((await page.get("/", host="evil.example")).headers)
        _check_headers((await page.client.post("/")).headers)
        async with page.events() as events:
            _check_headers(events.response.headers)
        for nonsense in (b"GET / HTTP/1.1\r\nno header\r\n\r\n", b"nonsense\r\n\r\n"):
            _check_headers(_read_head(await ask_raw(page.port, nonsense)))


async def test_what_cannot_be_answered_has_the_safety_headers_too(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(max_connections="1") as page:

        async def fail() -> bytes:
            raise ZeroDivisionError

        monkeypatch.setattr(page.hub, "state", fail)
        answer = await page.get("/api/jobs")
        assert answer.status_code == 500
        _check_headers(answer.headers)
        _, writer = await asyncio.open_connection("127.0.0.1", page.port)
        full = await ask_raw(page.port, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert full.startswith(b"HTTP/1.1 503 ")
        _check_headers(_read_head(full))
        writer.close()


def _read_head(answer: bytes) -> httpx.Headers:
    lines = answer.partition(b"\r\n\r\n")[0].split(b"\r\n")[1:]
    return httpx.Headers([(name, value.strip()) for name, _, value in (line.partition(b":") for line in lines)])


def _check_headers(headers: httpx.Headers) -> None:
    policy = dict(part.partition(" ")[::2] for part in headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["img-src"] == "'self' data:"
    assert policy["frame-ancestors"] == "'self'"
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert "access-control-allow-origin" not in headers
    assert "server" not in headers


async def test_the_page_runs_nothing_that_stands_in_itself() -> None:
    async with serving() as page:
        for path in ("/", "/jobs/node1/a"):
            text = (await page.get(path)).text
            assert not re.search(r"<script(?![^>]*\ssrc=)", text)
            assert not re.search(r"<style|\sstyle=|\son[a-z]+=", text)
            assert not re.search(r"""(src|href)=["'](https?:)?//""", text), "nothing from another host"


async def test_pages_that_are_listed_may_show_ours_in_a_frame() -> None:
    async with serving(embed="https://grafana.example.org,http://10.0.0.7:3000") as page:
        policy = (await page.get("/jobs/node1/a")).headers["content-security-policy"]
        assert policy.endswith("frame-ancestors 'self' https://grafana.example.org http://10.0.0.7:3000")


async def test_scripts_of_other_origins_read_nothing_unless_they_are_listed() -> None:
    listed = "https://listed.example"
    async with serving(make_job_event(1), origins=listed) as page:
        answer = await page.get("/api/jobs", origin=listed)
        assert answer.headers["access-control-allow-origin"] == listed
        assert "access-control-allow-credentials" not in answer.headers
        answer = await page.get("/api/jobs", origin="https://other.example")
        assert "access-control-allow-origin" not in answer.headers
    async with serving(make_job_event(1)) as page:
        answer = await page.get("/api/jobs", origin=listed)
        assert "access-control-allow-origin" not in answer.headers
        asking = {"origin": listed, "access-control-request-method": "GET"}
        assert (await page.client.options("/api/jobs", headers=asking)).status_code == 405


async def test_a_listed_origin_may_ask_with_the_token(token_file: str) -> None:
    async with serving(token_file=token_file, origins="https://listed.example") as page:
        asking = {
            "origin": "https://listed.example",
            "access-control-request-method": "GET",
            "access-control-request-headers": "authorization",
        }
        answer = await page.client.options("/api/jobs", headers=asking)
        assert answer.status_code == 200
        assert "authorization" in answer.headers["access-control-allow-headers"]


MARKUP = "<script>alert(1)</script><img src=x onerror=alert(1)>"


async def test_markup_in_a_pulse_is_text_everywhere() -> None:
    hostile = make_job_event(
        1, host=MARKUP.replace("/", "|"), job=MARKUP, message=MARKUP, labels={"profile": MARKUP}
    )
    async with serving(hostile, make_host_event(2, host=hostile.host, version=MARKUP)) as page:
        answer = await page.get("/api/jobs")
        assert answer.headers["content-type"] == "application/json"
        (view,) = answer.json()["jobs"]
        assert (view["host"], view["job"]) == (hostile.host, MARKUP)
        assert view["message"] == view["label_profile"] == MARKUP
        for path in ("/", f"/jobs/{MARKUP.replace('/', '%2F')}/x", f"/api/jobs/{MARKUP}"):
            answer = await page.get(path)
            assert "<img src=x" not in answer.text, path
        async with page.events() as events:
            assert (await events.next()).data["jobs"][0]["message"] == MARKUP


# Limits


async def test_what_is_too_long_is_refused() -> None:
    async with serving(make_job_event(1)) as page:
        answer = await page.get(f"/api/jobs?{'x' * 5000}")
        assert answer.status_code == 414
        assert answer.json() == {"error": "what stands behind the '?' is longer than 4096 bytes"}
        answer = await page.get("/api/jobs", x_long="x" * 40_000)
        assert answer.status_code == 431
        assert answer.json() == {"error": "the headers are longer than 32768 bytes together"}
        endless = b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Long: " + b"x" * 100_000
        assert (await ask_raw(page.port, endless)).startswith(b"HTTP/1.1 400 ")
        assert (await page.get("/api/jobs")).status_code == 200


async def test_there_are_so_many_connections_and_no_more() -> None:
    async with serving(make_job_event(1), max_connections="3") as page:
        idle = [await asyncio.open_connection("127.0.0.1", page.port) for _ in range(3)]
        answer = await page.get("/api/jobs")
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "10"
        assert answer.json() == {"error": "there are too many connections; ask again in a moment"}
        for _, writer in idle:
            writer.close()

        async def is_let_in() -> bool:
            return (await page.get("/api/jobs")).status_code == 200

        await wait_until_async(is_let_in, "there is room again")


async def test_one_address_has_so_many_connections_and_no_more() -> None:
    async with serving(make_job_event(1), max_connections="100", max_per_address="3") as page:
        idle = [await asyncio.open_connection("127.0.0.1", page.port) for _ in range(3)]
        answer = await page.get("/api/jobs")
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "10"
        assert answer.headers["connection"] == "close"
        assert answer.json()["error"].startswith("there are too many connections from your address")
        other = await asyncio.open_connection("127.0.0.1", page.port, local_addr=("127.0.0.9", 0))
        other[1].write(b"GET /api/jobs HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert (await other[0].readline()).startswith(b"HTTP/1.1 200 "), "others have their own"
        many = [await asyncio.open_connection("127.0.0.1", page.port) for _ in range(40)]
        async with asyncio.timeout(5):
            assert await many[-1][0].read() == b"", "even refusals have a limit"
        for _, writer in (*idle, *many, other):
            writer.close()

        async def is_let_in() -> bool:
            return (await page.get("/api/jobs")).status_code == 200

        await wait_until_async(is_let_in, "there is room again")


def test_one_machine_beyond_this_one_takes_a_quarter_of_the_room() -> None:
    room = Room(100)
    for address, beside in (
        ("192.0.2.1", "192.0.2.2"),
        ("::ffff:192.0.2.9", "::ffff:192.0.2.10"),
        ("2001:db8::1", "2001:db8:0:1::1"),
    ):
        places = [room.enter(address) for _ in range(26)]
        assert [room.refusal(address, place) is None for place in places] == [True] * 25 + [False]
        assert not room.is_crammed(address, places[-1])
        assert room.is_crammed(address, 36)
        assert room.refusal(beside, room.enter(beside)) is None
        for left in (*[address] * 26, beside):
            room.leave(left)
    assert room.refusal("2001:db8::1", room.enter("2001:db8::1")) is None, "they left"
    neighbours = [f"2001:db8::{number:x}" for number in range(2, 30)]
    assert room.refusal(neighbours[-1], [room.enter(address) for address in neighbours][-1]) is not None


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "::ffff:127.0.0.1", "127.8.8.8"])
def test_this_machine_takes_all_the_room_since_a_proxy_speaks_for_everybody(address: str) -> None:
    room = Room(100)
    places = [room.enter(address) for _ in range(100)]
    assert room.refusal(address, places[-1]) is None
    assert room.refusal(address, room.enter(address)) is not None


async def test_connections_leave_files_for_the_work_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    resource = pytest.importorskip("resource")
    limits = [(1024, 4096)]
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits[-1])
    monkeypatch.setattr(resource, "setrlimit", lambda _, pair: limits.append(pair))
    assert server.affordable(500) == 500
    assert limits == [(1024, 4096)], "as it is, it is enough"
    assert server.affordable(2000) == 2000
    assert limits[-1] == (2128, 4096)
    assert server.affordable(10_000) == 4096 - 128


async def test_a_client_that_never_asks_is_sent_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "REQUEST_S", 0.1)
    async with serving(make_job_event(1)) as page:
        for words in (b"", b"GET / HTTP/1.1\r\nHost: loc", b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Le"):
            assert await ask_raw(page.port, words) == b""
        async with page.events() as events:
            await events.next()
            await asyncio.sleep(0.2)  # longer than a request may take: an answer may take its time
            await page.give(make_job_event(2))
            await events.until_job("llm/run a", id="contract-2")


async def test_what_is_no_http_is_refused_and_no_news(caplog: pytest.LogCaptureFixture) -> None:
    async with serving(make_job_event(1)) as page:
        assert (await ask_raw(page.port, b"\x16\x03\x01 nonsense\r\n\r\n")).startswith(b"HTTP/1.1 400 ")
        assert (await page.get("/api/jobs")).status_code == 200
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.mark.parametrize("path", ["/", "/events", "/healthz", "/nothing"])
async def test_what_ends_in_nonsense_is_refused_or_cut_off_and_no_news(
    path: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A body that is no body, together with what it belongs to, or once the answer is on its way."""
    head = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    async with serving(make_job_event(1)) as page:
        assert (await ask_raw(page.port, head + b"zz\r\n\r\n")).startswith(b"HTTP/1.1 400 ")
        reader, writer = await asyncio.open_connection("127.0.0.1", page.port)
        writer.write(head)
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"zz\r\n\r\n")
        async with asyncio.timeout(5):
            with suppress(ConnectionResetError):
                assert b"HTTP/1.1" not in await reader.read()
        writer.close()
        assert (await page.get("/api/jobs")).status_code == 200
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


# Files and the base path


async def test_the_page_s_files_are_served_with_their_types_and_asked_for_again_for_nothing() -> None:
    async with serving() as page:
        answer = await page.get("/")
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert answer.headers["cache-control"] == "no-cache"
        files = re.findall(r'"(static/[^"#]+)', answer.text)
        assert files
        types = {"js": "text/javascript; charset=utf-8", "css": "text/css; charset=utf-8"}
        for name in files:
            found = await page.get(f"/{name}")
            assert found.status_code == 200, name
            expected = types.get(name.rpartition(".")[2])
            assert expected is None or found.headers["content-type"] == expected
            assert found.headers["cache-control"] == "no-cache"
            again = await page.get(f"/{name}", if_none_match=found.headers["etag"])
            assert (again.status_code, again.content) == (304, b"")


async def test_no_other_file_can_be_asked_for() -> None:
    async with serving() as page:
        for path in (
            "/static/../app.py",
            "/static/%2e%2e/app.py",
            "/static//etc/passwd",
            "/static/",
            "/static/..",
        ):
            request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
            assert (await ask_raw(page.port, request)).startswith(b"HTTP/1.1 404 "), path


async def test_everything_is_below_the_base_path() -> None:
    async with serving(make_job_event(1), base_path="/team/pulse/") as page:
        assert page.subscriber.address == f"http://127.0.0.1:{page.port}/team/pulse/"
        answer = await page.get("/")
        assert '<base href="/team/pulse/">' in answer.text
        assert '<base href="/team/pulse/">' in (await page.get("/jobs/node1/llm/run%20a")).text
        for path in EVERYTHING[3:]:
            assert (await page.get(path)).status_code in {200, 404}
        async with page.events() as events:
            assert (await events.next()).kind == "snapshot"
        outside = httpx.AsyncClient(base_url=f"http://127.0.0.1:{page.port}")
        async with outside:
            assert (await outside.get("/team/pulse")).headers["location"] == "/team/pulse/"
            for path in ("/", "/api/jobs", "/team/pulses/", "/team", "/x/team/pulse/"):
                answer = await outside.get(path)
                assert answer.status_code == 404
                assert answer.text == "There is nothing here: everything is below /team/pulse/.\n"


async def test_a_redirect_keeps_the_base_path_and_what_stands_behind_the_question_mark() -> None:
    async with serving(make_job_event(1), base_path="/pulse") as page:
        for path, location in (
            (b"/pulse?token=x", b"/pulse/?token=x"),
            (b"/pulse", b"/pulse/"),
        ):
            answer = await ask_raw(
                page.port, b"GET " + path + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
            )
            assert b"308" in answer.partition(b"\r\n")[0]
            assert b"location: " + location + b"\r\n" in answer
        answer = await ask_raw(
            page.port, b"GET /pulse/events/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        )
        assert b"404" in answer.partition(b"\r\n")[0]


async def test_a_server_that_ends_leaves_its_port_at_once() -> None:
    port = str(free_port())
    for _ in range(3):
        async with serving(make_job_event(1), port=port) as page, page.events() as events:
            await events.next()
    await wait_until(lambda: not page.hub.viewers, "nobody looks")
