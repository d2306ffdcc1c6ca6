"""The token: where it comes from, who must show it, and how a person does, over real HTTP."""

import hmac
import logging
from pathlib import Path

import httpx
import pytest
from playwright.async_api import async_playwright, expect

from pulse_bridge.testing import make_job_event
from pulse_bridge_web import login
from pulse_bridge_web.safety import Token
from tests.support.processes import require_binary
from tests.support.web import Page, ask_raw, refusal, serving

TOKEN = "correct-horse-battery-staple"
NAME = Token(TOKEN).cookie_name.encode()
OTHER_TOKEN = "another-horse-another-staple"
EVERYTHING = (
    "/",
    "/jobs/node1/a",
    "/static/index.html",
    "/api/jobs",
    "/api/jobs/node1/a",
    "/healthz",
    "/openapi.json",
)


@pytest.fixture
def token_file(tmp_path: Path) -> str:
    path = tmp_path / "token"
    path.write_text(f"{TOKEN}\n")
    return str(path)


async def test_a_token_that_is_not_to_be_had_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, token_file: str
) -> None:
    monkeypatch.delenv("PAGE_TOKEN", raising=False)
    assert "the environment variable PAGE_TOKEN is not set or empty" in await refusal(token_env="PAGE_TOKEN")
    monkeypatch.setenv("PAGE_TOKEN", "")
    assert "the environment variable PAGE_TOKEN is not set or empty" in await refusal(token_env="PAGE_TOKEN")
    assert "cannot be read" in await refusal(token_file=str(tmp_path / "none"))
    (tmp_path / "empty").write_text("\n")
    assert "is empty" in await refusal(token_file=str(tmp_path / "empty"))
    (tmp_path / "short").write_text("fifteen-letters\n")
    short = await refusal(token_file=str(tmp_path / "short"))
    assert short.endswith(
        "holds a token of 15 characters, which can be guessed: it must have 16 or more; make one with:"
        " openssl rand -hex 24"
    )
    assert "fifteen" not in short
    monkeypatch.setenv("PAGE_TOKEN", "short")
    assert "the environment variable PAGE_TOKEN holds a token of 5 characters" in await refusal(
        token_env="PAGE_TOKEN"
    )
    assert "in token_env or in token_file, not in both" in await refusal(
        token_env="PAGE_TOKEN", token_file=token_file
    )


async def test_what_stands_around_a_token_is_none_of_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PAGE_TOKEN", f" {TOKEN}\r\n")
    (tmp_path / "token").write_bytes(f"\n\t{TOKEN} \r\n".encode())
    for place in ({"token_env": "PAGE_TOKEN"}, {"token_file": str(tmp_path / "token")}):
        async with serving(make_job_event(1), **place) as page:
            assert (await page.get("/api/jobs", authorization=f"Bearer {TOKEN}")).status_code == 200


async def test_without_the_token_nothing_is_told(token_file: str) -> None:
    async with serving(make_job_event(1, job="secret-job"), token_file=token_file) as page:
        for path in (*EVERYTHING, "/events", "/nothing"):
            for headers in (
                {},
                {b"authorization": b"Bearer wrong"},
                {b"authorization": b"Bearer"},
                {b"authorization": b"Bearer \xc3\xa9"},
                {b"authorization": b"Basic " + TOKEN.encode()},
                {b"cookie": NAME + b"=" + TOKEN.encode()},
                {b"cookie": NAME + b"="},
                {b"cookie": NAME + b'="\\351"; a,b=c'},
            ):
                answer = await page.client.get(path, headers=headers)
                assert answer.status_code == 401, (path, headers)
                assert answer.headers["www-authenticate"] == 'Bearer realm="pulse-bridge"'
                assert "secret-job" not in answer.text
        assert "set-cookie" not in (await page.get("/?token=wrong")).headers
        for path in ("/api/jobs", "/events", "/healthz", "/openapi.json"):
            answer = await page.get(f"{path}?token={TOKEN}")
            assert answer.status_code == 401, "a program's address, which stands in logs, is no place for it"


async def test_a_refusal_is_a_sentence_for_programs_and_a_page_for_people(token_file: str) -> None:
    async with serving(token_file=token_file) as page:
        answer = await page.get("/api/jobs")
        assert answer.json() == {"error": "a token is asked for: send it as 'Authorization: Bearer TOKEN'"}
        answer = await page.get("/jobs/node1/%3Cb%3E%22")
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert "This page asks for a token" in answer.text
        assert 'href="./%3Cb%3E%22"' in answer.text
        answer = await page.get('/jobs/node1/a?theme=dark&token=wrong&q="<b>')
        assert 'href="./a?theme=dark&amp;q=%22%3Cb%3E"' in answer.text


async def test_a_program_shows_the_token_in_a_header(token_file: str) -> None:
    async with serving(make_job_event(1), token_file=token_file) as page:
        for scheme in ("Bearer", "bearer"):
            assert (await page.get("/api/jobs", authorization=f"{scheme} {TOKEN}")).status_code == 200
        async with page.events(authorization=f"Bearer {TOKEN}") as events:
            assert (await events.next()).kind == "snapshot"


# The form


async def enter(page: Page, path: str = "/", token: str = TOKEN, **headers: str) -> httpx.Response:
    """Send the form; a header's `_` stands for its `-`."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await page.client.post(path, data={"token": token}, headers=named)


async def test_a_person_enters_the_token_once_and_the_cookie_is_enough_from_then_on(token_file: str) -> None:
    async with serving(make_job_event(1), token_file=token_file, base_path="/pulse") as page:
        answer = await enter(page, "/jobs/node1/llm/run%20a?theme=dark&token=old&x=1", f" {TOKEN} ")
        assert answer.status_code == 303
        assert answer.headers["location"] == "/pulse/jobs/node1/llm/run%20a?theme=dark&x=1"
        assert answer.headers["cache-control"] == "no-store"
        cookie = answer.headers["set-cookie"]
        assert TOKEN not in cookie
        for part in ("HttpOnly", "SameSite=strict", "Path=/pulse/"):
            assert part in cookie
        assert "Secure" not in cookie
        assert (await page.get("/")).status_code == 200
        assert (await enter(page)).status_code == 303, "once more, from another tab"
        assert "Secure" in (await enter(page, x_forwarded_proto="https")).headers["set-cookie"]


async def test_a_wrong_token_is_asked_for_again(token_file: str) -> None:
    async with serving(token_file=token_file) as page:
        for token in ("wrong", "", "\u00e9", TOKEN + "x"):
            answer = await enter(page, token=token)
            assert answer.status_code == 401
            assert "What was entered is not the token." in answer.text
            assert '<form method="post">' in answer.text
            assert "set-cookie" not in answer.headers
        assert (await page.client.post("/", content=b"", headers=FORM)).status_code == 401


async def test_a_program_s_path_takes_no_form(token_file: str) -> None:
    async with serving(token_file=token_file) as page:
        assert (await enter(page, "/api/jobs")).status_code == 401
        answer = await enter(page, "/api/jobs", authorization=f"Bearer {TOKEN}")
        assert answer.status_code == 405


FORM = {"content-type": "application/x-www-form-urlencoded"}


async def test_a_form_on_a_foreign_page_is_refused(token_file: str) -> None:
    async with serving(token_file=token_file, hosts="pulse.example.org") as page:
        for foreign in (
            {"sec_fetch_site": "cross-site"},
            {"sec_fetch_site": "same-site", "origin": f"http://127.0.0.1:{page.port}"},
            {"origin": "https://evil.example"},
            {"origin": "null"},
            {"origin": "http://127.0.0.1:1"},
            {"origin": f"http://127.0.0.1:{page.port}.evil.example"},
            {"origin": "http://127.0.0.1:99999"},
            {"origin": "https://pulse.example.org:8443", "host": "pulse.example.org:443"},
        ):
            answer = await enter(page, **foreign)
            assert answer.status_code == 403, foreign
            assert "set-cookie" not in answer.headers
        for own in (
            {"sec_fetch_site": "same-origin", "origin": "null"},
            {"origin": f"http://127.0.0.1:{page.port}"},
            {"origin": "https://pulse.example.org", "host": "pulse.example.org"},
            {"origin": "https://pulse.example.org", "host": "pulse.example.org:443"},
            {"origin": "https://pulse.example.org:8443", "host": "pulse.example.org"},  # the proxy left it out
        ):
            assert (await enter(page, **own)).status_code == 303, own


async def test_a_form_is_short_and_of_one_kind(token_file: str) -> None:
    async with serving(token_file=token_file) as page:
        answer = await enter(page, token="x" * 5000)
        assert answer.status_code == 413
        assert answer.json() == {"error": "a form is no longer than 4096 bytes"}
        assert (await page.client.post("/", json={"token": TOKEN})).status_code == 415
        head = (
            b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n"
            b"Content-Type: application/x-www-form-urlencoded\r\n\r\n"
        )
        endless = b"1000\r\n" + b"x" * 4096 + b"\r\n"
        told = await ask_raw(page.port, head + endless + endless)
        assert told.startswith(b"HTTP/1.1 413 "), "and the connection is closed"


async def test_a_form_that_does_not_come_to_its_end_is_not_waited_for(
    token_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(login, "FORM_S", 0.1)
    async with serving(token_file=token_file) as page:
        told = await ask_raw(
            page.port,
            b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 40\r\n"
            b"Content-Type: application/x-www-form-urlencoded\r\n\r\ntoken=",
        )
        assert told.startswith(b"HTTP/1.1 408 ")
        assert b"the form did not come within 0.1 s" in told


async def test_two_servers_on_one_host_do_not_put_out_each_other_s_cookie(token_file: str, tmp_path: Path) -> None:
    (tmp_path / "other").write_text(OTHER_TOKEN)
    async with serving(token_file=token_file) as ours, serving(token_file=str(tmp_path / "other")) as theirs:
        client = ours.client  # a browser keeps cookies by host, whatever the port
        addresses = {f"http://127.0.0.1:{ours.port}/": TOKEN, f"http://127.0.0.1:{theirs.port}/": OTHER_TOKEN}
        for address, token in addresses.items():
            assert (await client.post(address, data={"token": token})).status_code == 303
        for address in addresses:
            assert (await client.get(f"{address}api/jobs")).status_code == 200
        names = set(client.cookies.keys())
        assert len(names) == 2
        assert not any(secret in name for name in names for secret in (TOKEN, OTHER_TOKEN))


async def test_a_real_browser_s_form_lets_it_in_over_plain_http(token_file: str) -> None:
    chromium = require_binary("chromium")
    async with (
        serving(
            make_job_event(1, job="shown"), token_file=token_file, hosts="pulse.example", base_path="/pulse"
        ) as page,
        async_playwright() as playwright,
    ):
        # Under a name that a browser does not trust, as over a network: it then says less of where a form is from.
        args = ["--no-sandbox", "--host-resolver-rules=MAP pulse.example 127.0.0.1"]
        browser = await playwright.chromium.launch(executable_path=chromium, args=args)
        try:
            window = await browser.new_page()
            wrong: list[str] = []
            window.on("console", lambda message: wrong.append(message.text))
            address = f"http://pulse.example:{page.port}/pulse/"
            await window.goto(f"{address}?sort=loss")
            await window.get_by_label("Token").fill("not-the-token-at-all")
            await window.get_by_role("button").click()
            await expect(window.get_by_text("What was entered is not the token.")).to_be_visible()
            await window.get_by_label("Token").fill(TOKEN)
            await window.get_by_role("button").click()
            await expect(window.get_by_role("link", name="shown", exact=True)).to_be_visible()
            assert window.url == f"{address}?sort=loss"
            await window.get_by_role("link", name="shown", exact=True).click()
            await expect(window.get_by_role("heading", name="shown", exact=True)).to_be_visible()
            await expect(window.locator("#link")).to_have_text("Live")
            assert window.url == f"{address}jobs/node1/shown"
            expected = ("401", "Cross-Origin-Opener-Policy")  # the latter is heeded at trusted addresses only
            assert [text for text in wrong if not any(part in text for part in expected)] == []
        finally:
            await browser.close()


# An address with the token


async def test_an_address_with_the_token_is_taken_once_and_has_it_no_more(token_file: str) -> None:
    async with serving(make_job_event(1), token_file=token_file, base_path="/pulse") as page:
        answer = await page.get(f"/jobs/node1/llm/run%20a?theme=dark&token={TOKEN}&x=1")
        assert answer.status_code == 303
        assert answer.headers["location"] == "/pulse/jobs/node1/llm/run%20a?theme=dark&x=1"
        cookie = answer.headers["set-cookie"]
        assert TOKEN not in cookie
        for part in ("HttpOnly", "SameSite=strict", "Path=/pulse/"):
            assert part in cookie
        assert "Secure" not in cookie
        assert (await page.get("/")).status_code == 200, "the cookie is enough from now on"
        async with page.events() as events:
            assert (await events.next()).kind == "snapshot"
        answer = await page.get(f"/?token={TOKEN}", x_forwarded_proto="https")
        assert "Secure" in answer.headers["set-cookie"]


async def test_another_s_cookie_does_not_hide_ours(token_file: str) -> None:
    async with serving(make_job_event(1), token_file=token_file) as page:
        cookie = (await page.get(f"/?token={TOKEN}")).headers["set-cookie"].partition(";")[0].encode()
        page.client.cookies.clear()
        for others in (b'prefs={"a":1}; ', b"a b; ", b"path=x; "):
            answer = await page.client.get("/api/jobs", headers={b"cookie": others + cookie})
            assert answer.status_code == 200, others


async def test_an_address_with_the_token_leads_nowhere_else(token_file: str) -> None:
    async with serving(token_file=token_file) as page:
        answer = await ask_raw(
            page.port,
            f"GET //evil.example/?token={TOKEN} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode(),
        )
        assert b"location: /evil.example/\r\n" in answer


async def test_the_token_is_compared_in_constant_time_and_never_in_a_log(
    token_file: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    compared: list[bytes] = []
    compare = hmac.compare_digest

    def spy(shown: bytes, secret: bytes) -> bool:
        compared.append(shown)
        return compare(shown, secret)

    monkeypatch.setattr("pulse_bridge_web.safety.hmac.compare_digest", spy)
    caplog.set_level(logging.DEBUG)
    for name in ("uvicorn.access", "uvicorn.error", "pulse_bridge_web"):
        caplog.set_level(logging.DEBUG, logger=name)
    async with serving(token_file=token_file) as page:
        await page.get("/api/jobs", authorization=f"Bearer {TOKEN}")
        await page.get("/api/jobs", authorization="Bearer wrong-one")
        await page.get(f"/?token={TOKEN}")
        await page.get("/?token=wrong-two")
        await ask_raw(page.port, f"GET /?token={TOKEN} nonsense\r\n\r\n".encode())
    assert compared[:4] == [TOKEN.encode(), b"wrong-one", TOKEN.encode(), b"wrong-two"]
    ours = "\n".join(
        str(vars(record)) for record in caplog.records if not record.name.startswith(("httpx", "httpcore"))
    )
    assert "serving the page" in ours
    assert TOKEN not in ours
    assert "wrong-" not in ours
