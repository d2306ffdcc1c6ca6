"""The page's pure modules, in the browser that runs them."""

from typing import Any

import pytest
from playwright.async_api import Page

from tests.support.fake_web import FakeWeb
from tests.web.conftest import UNKNOWN, Visit

CASES: list[tuple[str, str, list[Any], Any]] = [
    ("format", "lossText", [0.342, False], "0.3420"),
    ("format", "lossText", [0, False], "0.0000"),
    ("format", "lossText", [-1.5, False], "-1.5000"),
    ("format", "lossText", [0.0000042, False], "4.20e-6"),
    ("format", "lossText", [1234567.8, False], "1.23e+6"),
    ("format", "lossText", [None, True], "diverged"),
    ("format", "lossText", [None, False], UNKNOWN),
    ("format", "epochText", [1.5, 3], "epoch 1.50 / 3"),
    ("format", "epochText", [2.25, 2.5], "epoch 2.25 / 2.50"),
    ("format", "epochText", [0, 0], "epoch 0.00"),
    ("format", "percentText", [None], "0.0 %"),
    ("format", "percentText", [250], "100.0 %"),
    ("format", "rateText", [0.00002], "2e-5"),
    ("format", "rateText", [0.000125], "1.25e-4"),
    ("format", "rateText", [0.1], "0.1"),
    ("format", "rateText", [0], "0"),
    ("format", "rateText", [None], ""),
    ("format", "stepText", [150, None], "150"),
    ("format", "stepText", [150, 12000], "150 / 12\u202f000"),
    ("format", "durationText", [59.4], "59 s"),
    ("format", "durationText", [61], "1 min 01 s"),
    ("format", "durationText", [3599], "59 min"),
    ("format", "durationText", [3600], "1 h 00 min"),
    ("format", "durationText", [200_000], "2 d 7 h"),
    ("format", "durationText", [-5], "0 s"),
    ("format", "durationText", [1e300], "over 1000 d"),
    ("format", "agoText", [119.9], "119 s ago"),
    ("format", "agoText", [120], "2 min ago"),
    ("format", "agoText", [-3], "0 s ago"),
    ("format", "agoText", [7200], "2 h ago"),
    ("format", "agoText", [999_999], "11 d ago"),
    ("format", "timeText", [1e300], UNKNOWN),
    ("format", "labelsOf", [{"label_b": "1", "host": "h", "label_a": "2"}], [["b", "1"], ["a", "2"]]),
    ("address", "pageAddress", ["n 1", "a b/c"], "jobs/n%201/a%20b/c"),
    ("address", "apiAddress", ["n", "x/history"], "api/jobs/n/x%2Fhistory"),
    ("address", "pageAddress", ["n", "../x"], "jobs/n/..%2Fx"),
    ("address", "pageAddress", ["..", "."], "jobs/..~/.~"),
    ("address", "pageAddress", [".", "..~"], "jobs/.~/..~~"),
    ("address", "apiAddress", ["n", "./.."], "api/jobs/n/.%2F.."),
    ("address", "jobOfPath", ["/jobs/..~/.~", "/"], {"host": "..", "job": "."}),
    ("address", "jobOfPath", ["/jobs/n~/..~~", "/"], {"host": "n~", "job": "..~"}),
    ("address", "jobOfPath", ["/p/jobs/n%201/a/b%2Fc", "/p/"], {"host": "n 1", "job": "a/b/c"}),
    ("address", "jobOfPath", ["/jobs/n/100%", "/"], {"host": "n", "job": "100%"}),
    ("scale", "ticks", [0, 3, 6], [0, 0.5, 1, 1.5, 2, 2.5, 3]),
    ("scale", "ticks", [1, 1, 6], [1]),
    ("scale", "logTicks", [0.01, 10], [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10]),
    ("scale", "tickText", [0.00001], "1e-5"),
    ("scale", "tickText", [0.30000000000000004], "0.3"),
    ("spark", "sparkPath", [[[0, 1]]], ""),
    ("spark", "sparkPath", [[[0, 1], [1, 1]]], "M0.0 14.0L96.0 14.0"),
    ("announce", "spoken", [[{"view": {"job": "a", "host": "h"}, "to": "done"}]], "a on h: done."),
]


async def call(page: Page, module: str, name: str, arguments: list[Any]) -> Any:
    """Call a module's function; None stands for what is not there."""
    return await page.evaluate(
        """async ([module, name, given]) =>
          (await import(`/static/${module}.js`))[name](...given.map(value => value ?? undefined))""",
        [module, name, arguments],
    )


async def test_numbers_times_and_addresses_read_as_they_should(web: FakeWeb, visit: Visit) -> None:
    await visit.page.goto(web.url)
    wrong = []
    for module, name, arguments, wanted in CASES:
        got = await call(visit.page, module, name, arguments)
        if isinstance(wanted, list) and name.lower().endswith("ticks"):
            got = [pytest.approx(value) for value in got]
        if got != wanted:
            wrong.append((name, arguments, got))
    assert wrong == []


LEARN = """
async told => {
  const {ServerClock} = await import('/static/clock.js');
  let own = 0;
  const clock = new ServerClock(() => own);
  return told.map(([at, server]) => {
    own = at * 1000;
    clock.learn(server === null ? 'no time at all' : new Date(server * 1000).toISOString());
    return Math.round((clock.now() - own) / 1000);
  });
}
"""
"""Takes seconds on the viewer's clock and what the server then says; gives by how much its clock is ahead."""


async def test_the_server_s_clock_is_told_by_the_message_that_came_fastest(web: FakeWeb, visit: Visit) -> None:
    await visit.page.goto(web.url)
    late_by_1, late_by_5, in_time = (1, 5000), (9, 5004), (10, 5010)
    told = [(0, 5000), late_by_1, late_by_5, in_time, (11, 9011), (12, None)]
    assert await visit.page.evaluate(LEARN, told) == [5000, 5000, 5000, 5000, 9000, 9000]


async def test_a_server_s_clock_that_was_set_back_is_believed_within_a_minute(web: FakeWeb, visit: Visit) -> None:
    await visit.page.goto(web.url)
    told = [(0, 5000), (10, 4010), (31, 4031), (61, 4061), (62, 4062)]
    assert await visit.page.evaluate(LEARN, told) == [5000, 5000, 5000, 4000, 4000]
