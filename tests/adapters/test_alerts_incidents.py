"""The noise budget, by count, on a fake clock."""

from collections import defaultdict
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pulse_bridge.clock import Instant
from pulse_bridge.event import JobEvent
from pulse_bridge.testing import make_job_event
from pulse_bridge_alerts.budget import MAX_LISTED, MAX_RECENT, RECENT_S, Budget
from pulse_bridge_alerts.notice import Message
from pulse_bridge_alerts.policy import Match, Policy, Route, Rule, Silence
from pulse_bridge_alerts.rules import Finding
from tests.support.alerting import ALL, make_policy

UNIX_S = 1_790_000_000
FLEET = [f"j{number:02}" for number in range(64)]


@dataclass
class Clerk:
    """Tells a budget what begins and ends, and keeps what it wants told with the time."""

    policy: Policy = field(default_factory=make_policy)
    now_s: float = 1000.0
    told: list[tuple[float, Message]] = field(default_factory=list)
    newest: dict[tuple[str, str], JobEvent] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.budget = Budget(self.policy)

    @property
    def at(self) -> Instant:
        return Instant(self.now_s, UNIX_S + self.now_s)

    def open(
        self, *jobs: str, rule: Rule = "stale", ago_s: float = 0, known: bool = False, run: int = UNIX_S
    ) -> None:
        at_ms = int((self.at.wall_s - ago_s) * 1000)
        for job in jobs:
            event = make_job_event(job=job, run=run, observed_ms=at_ms)
            self.budget.open(Finding(rule, at_ms, "opened"), "node1", event, at_ms, self.at, known=known)

    def close(self, *jobs: str, rule: Rule = "stale", ago_s: float = 0) -> None:
        at_ms = int((self.at.wall_s - ago_s) * 1000)
        for job in jobs:
            event = make_job_event(job=job, observed_ms=at_ms)
            self.budget.close(rule, "node1", event, detail="closed", at_ms=at_ms, at=self.at)

    def tell(self) -> None:
        self.told += [(self.now_s, message) for message in self.budget.due(self.at, self.newest)]

    def wait(self, seconds: float, step_s: float = 1.0) -> None:
        self.tell()
        end_s = self.now_s + seconds
        while self.now_s < end_s:
            self.now_s = min(end_s, self.now_s + step_s)
            self.tell()

    @property
    def words(self) -> list[str]:
        return [_words(message) for _, message in self.told]


def _words(message: Message) -> str:
    first = message.notices[0]
    assert {(notice.phase, notice.rule) for notice in message.notices} == {(first.phase, first.rule)}
    return f"{first.phase} " + " ".join(str(notice.job) for notice in message.notices)


def test_an_incident_is_told_at_once_when_it_opens_and_once_when_it_closes() -> None:
    clerk = Clerk()
    clerk.open("a")
    clerk.tell()
    assert clerk.words == ["open a"]
    clerk.wait(5000)
    clerk.close("a")
    clerk.tell()
    clerk.wait(5000)
    assert clerk.words == ["open a", "close a"]


def test_what_is_told_says_since_when_and_what_and_under_one_id() -> None:
    clerk = Clerk()
    clerk.open("a")
    clerk.wait(100)
    clerk.close("a")
    clerk.tell()
    (_, opening), (_, closing) = clerk.told
    (told,), (ended,) = opening.notices, closing.notices
    assert told.incident == ended.incident
    assert told.since_ms == ended.since_ms == told.at_ms
    assert ended.at_ms - ended.since_ms == 100_000
    assert (told.detail, ended.detail) == ("opened", "closed")
    assert opening.id != closing.id


def test_the_same_finding_again_and_an_end_of_nothing_are_no_news() -> None:
    clerk = Clerk()
    clerk.close("a")
    for _ in range(10):
        clerk.open("a")
        clerk.wait(100)
    assert clerk.words == ["open a"]


def test_an_incident_long_after_the_last_is_another() -> None:
    clerk = Clerk()
    for _ in range(2):
        clerk.open("a")
        clerk.wait(100)
        clerk.close("a")
        clerk.wait(601)
    assert clerk.words == ["open a", "close a"] * 2
    assert len({message.notices[0].incident for _, message in clerk.told}) == 2


def test_ids_are_the_same_wherever_an_incident_is_found() -> None:
    told = []
    for _ in range(2):
        clerk = Clerk()
        clerk.open("a")
        clerk.tell()
        told.append(clerk.told)
    assert told[0] == told[1]


# Groups


def test_64_jobs_that_go_stale_and_recover_one_by_one_are_two_messages_each_way() -> None:
    clerk = Clerk()
    for job in FLEET:
        clerk.open(job)
        clerk.wait(0.4, 0.2)
    clerk.wait(40)
    assert [len(message.notices) for _, message in clerk.told] == [1, 63]
    for job in FLEET:
        clerk.close(job)
        clerk.wait(0.4, 0.2)
    clerk.wait(40)
    assert clerk.words[2:] == ["close j00", "close " + " ".join(FLEET[1:])]


def test_64_jobs_at_one_moment_are_one_message() -> None:
    clerk = Clerk()
    clerk.open(*FLEET)
    clerk.wait(100)
    assert clerk.words == ["open " + " ".join(FLEET)]


def test_a_group_is_told_when_its_time_is_over_and_the_next_one_waits_as_long() -> None:
    clerk = Clerk()
    for second in range(90):
        clerk.open(f"j{second}")
        clerk.wait(1)
    assert [now_s - 1000 for now_s, _ in clerk.told] == [0, 30, 60, 90]


def test_groups_of_rules_phases_and_routes_are_their_own() -> None:
    routes = (
        Route("one", ("x",), match=Match(jobs=("a*",))),
        Route("two", ("y", "z")),
    )
    clerk = Clerk(make_policy(routes=routes))
    clerk.open("b1")
    clerk.tell()
    clerk.open("a1")
    clerk.open("a1", rule="error")
    clerk.tell()
    clerk.close("b1")
    clerk.tell()
    told = [(message.target, _words(message), message.notices[0].rule) for _, message in clerk.told]
    assert told == [
        ("y", "open b1", "stale"),
        ("z", "open b1", "stale"),
        ("x", "open a1", "stale"),
        ("x", "open a1", "error"),
        ("y", "open a1", "error"),
        ("z", "open a1", "error"),
        ("y", "close b1", "stale"),
        ("z", "close b1", "stale"),
    ]
    clerk.wait(30)
    assert [(message.target, _words(message)) for _, message in clerk.told[8:]] == [
        ("y", "open a1"),
        ("z", "open a1"),
    ]
    assert len({message.id for _, message in clerk.told}) == 10


def test_two_routes_to_one_target_tell_it_once() -> None:
    routes = (Route("first", ("phone",), match=Match(jobs=("a",))), Route("second", ("phone", "tablet")))
    clerk = Clerk(make_policy(routes=routes))
    clerk.open("a", "b")
    clerk.wait(40)
    clerk.close("a", "b")
    clerk.wait(40)
    heard = {
        target: [_words(message) for _, message in clerk.told if message.target == target]
        for target in ("phone", "tablet")
    }
    assert heard == {
        "phone": ["open a", "open b", "close a", "close b"],
        "tablet": ["open a b", "close a b"],
    }


def test_ids_of_messages_grow_though_the_clock_is_set_back() -> None:
    clerk = Clerk()
    clerk.open("a")
    before = clerk.budget.due(clerk.at, {})
    clerk.close("a")
    behind = clerk.budget.due(clerk.at._replace(wall_s=clerk.at.wall_s - 3600), {})
    assert before[0].id < behind[0].id


def test_a_route_is_told_only_of_its_rules() -> None:
    clerk = Clerk(make_policy(routes=(Route("one", ("x",), rules=frozenset({"error"})),)))
    clerk.open("a")
    clerk.open("b", rule="error")
    clerk.wait(100)
    assert clerk.words == ["open b"]


def test_what_opened_and_closed_while_its_group_waited_is_one_word() -> None:
    clerk = Clerk()
    clerk.open("first")
    clerk.tell()
    clerk.open("a")
    clerk.wait(5)
    clerk.close("a")
    clerk.wait(5000)
    assert clerk.words == ["open first", "close a"]
    assert clerk.told[1][1].notices[0].at_ms - clerk.told[1][1].notices[0].since_ms == 5000


def test_what_closed_and_opened_again_while_its_group_waited_is_not_told_for_the_last_word_stands() -> None:
    clerk = Clerk()
    clerk.open("a", "b")
    clerk.tell()
    clerk.close("a")
    clerk.tell()
    clerk.close("b")
    clerk.wait(5)
    clerk.open("b")
    clerk.wait(5000)
    assert clerk.words == ["open a b", "close a"]
    clerk.close("b")
    clerk.wait(100)
    assert clerk.words[2:] == ["close b"]


def test_a_message_lists_a_hundred_and_counts_the_others() -> None:
    clerk = Clerk()
    clerk.open(*(f"j{number}" for number in range(MAX_LISTED + 7)))
    clerk.tell()
    ((_, message),) = clerk.told
    assert (len(message.notices), message.more) == (MAX_LISTED, 7)


# Flapping


def test_flapping_is_an_opening_a_closing_and_one_word_however_often() -> None:
    clerk = Clerk()
    for _ in range(100):
        clerk.open("a")
        clerk.wait(40)
        clerk.close("a")
        clerk.wait(40)
    assert clerk.words == ["open a", "close a", "flapping a"]
    assert len({message.notices[0].incident for _, message in clerk.told}) == 1


def test_when_quiet_a_closed_one_is_told_closed_for_the_last_word_was_that_it_opened() -> None:
    clerk = Clerk()
    clerk.open("a")
    clerk.wait(40)
    clerk.close("a")
    clerk.wait(40)
    clerk.open("a")
    clerk.wait(40)
    clerk.close("a")
    clerk.wait(599)
    assert clerk.words == ["open a", "close a", "flapping a"]
    clerk.wait(1)
    assert clerk.words == ["open a", "close a", "flapping a", "close a"]
    clerk.open("a")
    clerk.tell()
    assert clerk.words[4:] == ["open a"]


def test_when_quiet_an_open_one_is_as_last_told_and_its_closing_is_told_at_once() -> None:
    clerk = Clerk()
    clerk.open("a")
    clerk.wait(40)
    clerk.close("a")
    clerk.wait(40)
    clerk.open("a")
    clerk.wait(5000)
    assert clerk.words == ["open a", "close a", "flapping a"]
    clerk.close("a")
    clerk.tell()
    assert clerk.words[3:] == ["close a"]


def test_a_flapping_that_never_got_its_turn_leaves_the_right_word() -> None:
    """Its word waits for the group of another; it is closed by then, and so it was told."""
    clerk = Clerk()
    clerk.open("a", "b")
    clerk.wait(31)
    clerk.close("a", "b")
    clerk.tell()
    clerk.open("a")
    clerk.tell()
    clerk.open("b")
    clerk.tell()
    clerk.close("b")
    clerk.wait(500)
    assert clerk.words == ["open a b", "close a b", "flapping a"]
    clerk.open("b")
    clerk.tell()
    assert clerk.words[3:] == ["flapping b"]


def test_64_jobs_that_flap_are_at_most_two_messages_of_each_phase() -> None:
    clerk = Clerk()
    for _ in range(20):
        for job in FLEET:
            clerk.open(job)
            clerk.wait(0.2, 0.2)
        clerk.wait(40)
        for job in FLEET:
            clerk.close(job)
            clerk.wait(0.2, 0.2)
        clerk.wait(40)
    assert [word.split()[0] for word in clerk.words] == ["open"] * 2 + ["close"] * 2 + ["flapping"] * 2


# Known, and long past


def test_what_is_known_is_never_told_nor_its_end_but_what_comes_after_is() -> None:
    clerk = Clerk()
    clerk.open("a", known=True)
    clerk.wait(5000)
    clerk.close("a")
    clerk.wait(5)
    assert not clerk.told
    assert not clerk.budget.incidents
    clerk.open("a")
    clerk.tell()
    assert clerk.words == ["open a"]


def test_what_opened_and_closed_long_ago_is_not_told() -> None:
    clerk = Clerk()
    clerk.open("a", ago_s=1300)
    clerk.wait(2)
    clerk.close("a", ago_s=601)
    clerk.wait(5000)
    assert not clerk.told


def test_what_opened_long_ago_and_closed_lately_is_told() -> None:
    clerk = Clerk()
    clerk.open("a", ago_s=1300)
    clerk.wait(2)
    clerk.close("a", ago_s=599)
    clerk.wait(5000)
    assert clerk.words == ["close a"]


def test_what_opened_long_ago_and_still_holds_is_told_once_the_rest_is_read() -> None:
    clerk = Clerk()
    clerk.open("a", ago_s=1300)
    clerk.wait(29)
    assert not clerk.told
    clerk.wait(5000)
    assert clerk.words == ["open a"]


# Done


def test_the_end_of_a_run_is_told_once_and_has_no_end() -> None:
    clerk = Clerk()
    clerk.open("a", rule="done")
    clerk.wait(5000)
    clerk.close("a", rule="done")
    clerk.wait(5000)
    assert clerk.words == ["open a"]


def test_each_run_has_its_end_also_if_they_come_soon() -> None:
    clerk = Clerk()
    for run in range(5):
        clerk.open("a", rule="done", run=UNIX_S + run)
        clerk.wait(40)
        clerk.close("a", rule="done")
        clerk.wait(40)
    assert clerk.words == ["open a"] * 5
    assert len({message.notices[0].incident for _, message in clerk.told}) == 5


def test_an_end_that_waits_for_its_group_is_told_though_the_next_run_began() -> None:
    clerk = Clerk()
    clerk.open("first", rule="done")
    clerk.tell()
    for run in range(2):
        clerk.open("a", rule="done", run=UNIX_S + run)
        clerk.close("a", rule="done")
    clerk.newest["node1", "a"] = make_job_event(job="a", run=UNIX_S + 2, epoch=0.1)
    clerk.wait(100)
    assert clerk.words == ["open first", "open a a"]
    assert [f'"run":{UNIX_S + run},' in str(clerk.told[1][1].notices[run].event) for run in range(2)] == [True] * 2


# Reminders and silences


def test_a_reminder_comes_as_often_as_set_while_open_and_never_for_an_end_of_a_run() -> None:
    clerk = Clerk(make_policy(repeat_s=3600))
    clerk.open("a")
    clerk.open("b", rule="done")
    clerk.wait(3600 * 3 + 60)
    clerk.close("a")
    clerk.wait(3600 * 3)
    assert clerk.words == ["open a", "open b"] + ["reminder a"] * 3 + ["close a"]


def test_a_reminder_has_the_newest_numbers() -> None:
    clerk = Clerk(make_policy(repeat_s=3600))
    clerk.open("a")
    clerk.tell()
    clerk.newest["node1", "a"] = make_job_event(job="a", epoch=2.75)
    clerk.wait(3600)
    assert '"epoch":2.75' in str(clerk.told[1][1].notices[0].event)


def silence(until_s: float | None) -> Policy:
    until_ms = None if until_s is None else int((UNIX_S + until_s) * 1000)
    muted = Silence(Match(jobs=("a*",)), frozenset({"stale"}), until_ms)
    return make_policy(silences=(muted,))


def test_a_silenced_incident_that_still_holds_is_told_when_the_silence_ends() -> None:
    clerk = Clerk(silence(2000))
    clerk.open("a")
    clerk.wait(999)
    assert not clerk.told
    clerk.wait(2)
    assert clerk.words == ["open a"]


def test_what_opened_and_closed_within_a_silence_is_not_told() -> None:
    clerk = Clerk(silence(2000))
    clerk.open("a")
    clerk.wait(100)
    clerk.close("a")
    clerk.wait(5000)
    assert not clerk.told
    clerk.open("a")
    clerk.tell()
    assert clerk.words == ["open a"]


def test_an_incident_told_before_and_closed_within_a_silence_is_told_closed_behind_it() -> None:
    clerk = Clerk()
    clerk.open("a")
    clerk.tell()
    clerk.policy = clerk.budget.policy = silence(2000)
    clerk.close("a")
    clerk.wait(900)
    assert clerk.words == ["open a"]
    clerk.wait(200)
    assert clerk.words == ["open a", "close a"]


def test_what_closed_within_a_silence_and_is_back_behind_it_is_still_open_for_all_that_anybody_knows() -> None:
    clerk = Clerk()
    clerk.open("a")
    clerk.tell()
    clerk.policy = clerk.budget.policy = silence(3000)
    clerk.close("a")
    clerk.wait(1000)
    clerk.open("a")
    clerk.wait(1500)
    clerk.policy = clerk.budget.policy = make_policy()
    clerk.wait(100)
    assert clerk.words == ["open a"]


@pytest.mark.parametrize("quiet_s", [0, 10])
def test_a_closing_that_waits_for_its_group_never_comes_behind_the_next_opening(quiet_s: float) -> None:
    clerk = Clerk(make_policy(quiet_s=quiet_s))
    clerk.open("a", "b")
    clerk.wait(40)
    clerk.close("b")
    clerk.wait(1)
    clerk.close("a")
    clerk.wait(15)
    clerk.open("a")
    clerk.wait(100)
    assert clerk.words == ["open a b", "close b"]


def test_a_silence_without_end_mutes_for_good_and_only_what_it_means() -> None:
    clerk = Clerk(silence(None))
    clerk.open("a", "b")
    clerk.open("a", rule="error")
    clerk.wait(10_000)
    assert sorted(clerk.words) == ["open a", "open b"]
    assert {message.notices[0].rule for _, message in clerk.told if "a" in _words(message).split()} == {"error"}


# What is kept


def test_closed_incidents_are_kept_to_be_shown_for_a_day_and_not_without_bound() -> None:
    clerk = Clerk()
    jobs = [f"j{number}" for number in range(MAX_RECENT + 50)]
    clerk.open("open one", *jobs)
    clerk.wait(1)
    clerk.close(*jobs)
    clerk.wait(601)
    clerk.budget.tidy(clerk.at)
    assert len(clerk.budget.incidents) == MAX_RECENT + 1
    clerk.budget.changed.clear()
    clerk.now_s += RECENT_S
    clerk.budget.tidy(clerk.at)
    assert [incident.job for incident in clerk.budget.incidents.values()] == ["open one"]
    assert len(clerk.budget.changed) == MAX_RECENT


def test_what_may_flap_is_not_tidied_away() -> None:
    clerk = Clerk(make_policy(quiet_s=RECENT_S * 2))
    clerk.open("a")
    clerk.wait(1)
    clerk.close("a")
    clerk.tell()
    clerk.now_s += RECENT_S * 1.5
    clerk.budget.tidy(clerk.at)
    clerk.open("a")
    clerk.tell()
    assert clerk.words == ["open a", "close a", "flapping a"]


# For any sequence

_STEPS = st.lists(
    st.tuples(
        st.sampled_from(["open", "close"]),
        st.sampled_from(["a", "b", "c"]),
        st.sampled_from([0.0, 0.2, 3.0, 29.0, 31.0, 200.0, 599.0, 601.0, 2000.0]),
    ),
    max_size=40,
)


@settings(max_examples=200, deadline=None)
@given(_STEPS)
def test_nobody_is_left_with_a_wrong_last_word_and_nobody_is_told_too_often(
    steps: list[tuple[str, str, float]],
) -> None:
    clerk = Clerk()
    is_open: dict[str, bool] = {}
    seen: set[str] = set()
    for step, job, pause_s in steps:
        if step == "open":
            clerk.open(job)
            seen.add(job)
        else:
            clerk.close(job)
        is_open[job] = step == "open"
        clerk.wait(pause_s, 5.0)
    clerk.wait(700, 5.0)
    last_word: dict[str, str] = {}
    phases: dict[str, list[str]] = defaultdict(list)
    for _, message in clerk.told:
        for notice in message.notices:
            last_word[str(notice.job)] = notice.phase
            phases[notice.incident].append(notice.phase)
    for job in seen:
        assert (last_word[job] == "close") is not is_open[job]
    for told in phases.values():
        assert all(first != second for first, second in pairwise(told))
        assert all(second != "flapping" or first == "close" for first, second in pairwise(told))
    for phase in ("open", "close", "flapping"):
        times = [now_s for now_s, message in clerk.told if message.notices[0].phase == phase]
        assert all(later - sooner >= clerk.policy.group_s for sooner, later in pairwise(times))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.floats(0.2, 550.0), min_size=1, max_size=60))
def test_without_ten_quiet_minutes_no_job_takes_more_than_three_messages(pauses_s: list[float]) -> None:
    clerk = Clerk()
    for number, pause_s in enumerate(pauses_s):
        (clerk.close if number % 2 else clerk.open)("a")
        clerk.wait(pause_s, 5.0)
    assert clerk.words == ["open a", "close a", "flapping a"][: len(clerk.words)]


@pytest.mark.parametrize("routes", [(), ALL])
def test_forgetting_a_job_forgets_its_incidents_without_a_word(routes: tuple[Route, ...]) -> None:
    clerk = Clerk(make_policy(routes=routes))
    clerk.open("a", "b")
    clerk.tell()
    count = len(clerk.told)
    clerk.budget.forget("node1", "a")
    clerk.wait(100)
    assert [incident.job for incident in clerk.budget.incidents.values()] == ["b"]
    assert len(clerk.told) == count
