"""What each rule finds in a job's events, and when it does not any more."""

from collections.abc import Iterable
from typing import Any

import pytest

from pulse_bridge.clock import Instant
from pulse_bridge.event import JobEvent
from pulse_bridge.fleet import Silence
from pulse_bridge.testing import make_job_event
from pulse_bridge_alerts.policy import RULES, Match, Policy, Rule
from pulse_bridge_alerts.rules import (
    GAP_S,
    MIN_LOSSES,
    Finding,
    JobMemory,
    describe_end,
    describe_silence,
    in_words,
)

EVERYTHING = Policy(routes=(), rules=frozenset(RULES), stuck_after_s=1800)
UNIX_S = 1_790_000_000


class Watch:
    """One job whose events come at a time of the reader's clock."""

    def __init__(self, policy: Policy = EVERYTHING) -> None:
        self.policy = policy
        self.memory = JobMemory(0.0, UNIX_S * 1000, 0.0)
        self.before: JobEvent | None = None

    def sees(self, now_s: float = 0.0, **changes: Any) -> dict[Rule, Finding]:
        times = {"timestamp": UNIX_S + int(now_s), "observed_ms": int((UNIX_S + now_s) * 1000)}
        event = make_job_event(**{**times, **changes})
        found = list(self.memory.judge(event, self.before, self.policy, Instant(now_s, UNIX_S + now_s)))
        self.before = event
        return {finding.rule: finding for finding in found}

    def sees_until(self, end_s: int, start_s: int = 0, **changes: Any) -> dict[Rule, Finding]:
        """See a pulse each 10 s."""
        found: dict[Rule, Finding] = {}
        for now_s in range(start_s, end_s + 1, 10):
            found = self.sees(now_s, **changes)
        return found

    def loses(self, losses: Iterable[float], start_s: int = 0) -> list[bool]:
        return [
            "loss-spike" in self.sees(start_s + index, loss=loss, epoch=start_s + index)
            for index, loss in enumerate(losses)
        ]


@pytest.mark.parametrize(
    ("state", "rules"),
    [
        ("idle", set()),
        ("running", set()),
        ("stale", {"stale"}),
        ("done", {"done"}),
        ("error", {"error"}),
        ("gone", set()),
    ],
)
def test_each_state_meets_its_rule_whatever_the_kind_of_the_event(state: str, rules: set[str]) -> None:
    for kind in ("change", "heartbeat", "stale", "gone"):
        assert set(Watch().sees(kind=kind, state=state)) == rules


def test_a_stale_job_is_no_error_though_a_v1_viewer_is_shown_one() -> None:
    assert set(Watch().sees(state="stale", status="error")) == {"stale"}


def test_a_rule_that_is_off_finds_nothing() -> None:
    watch = Watch(Policy(routes=(), rules=frozenset()))
    for state in ("stale", "error", "done"):
        assert not watch.sees(state=state, diverged=True, loss=None)


def test_stale_says_for_how_long_there_was_no_sign_of_life() -> None:
    found = Watch().sees(65, timestamp=UNIX_S, state="stale")["stale"]
    assert found == Finding("stale", UNIX_S * 1000, "no sign of life for 65 s")


def test_a_training_whose_clock_is_ahead_is_stale_since_it_was_found_so() -> None:
    found = Watch().sees(65, timestamp=UNIX_S + 4000, state="stale")["stale"]
    assert found == Finding("stale", (UNIX_S + 65) * 1000, "no sign of life")


def test_a_loss_that_is_not_finite_is_found_also_while_the_job_is_stale_and_not_once_it_is_gone() -> None:
    watch = Watch()
    assert "diverged" in watch.sees(loss=None, diverged=True)
    assert "diverged" in watch.sees(state="stale", loss=None, diverged=True)
    assert "diverged" not in watch.sees(state="gone", loss=None, diverged=True)
    assert "diverged" not in watch.sees(loss=0.5)


# Stuck


def test_a_job_whose_epoch_does_not_move_though_pulses_come_is_stuck() -> None:
    watch = Watch()
    assert not watch.sees_until(1790)
    found = watch.sees(1800)["stuck"]
    assert found == Finding("stuck", UNIX_S * 1000, "the epoch has not moved for 30 min though pulses come")


def test_a_job_that_moves_is_not_stuck_and_one_that_was_is_not_any_more() -> None:
    watch = Watch()
    assert watch.sees_until(1800)
    assert "stuck" in watch.sees(1805)
    assert not watch.sees(1810, epoch=1.6)
    assert not watch.sees_until(1810 + 1790, start_s=1820, epoch=1.6)
    assert "stuck" in watch.sees(1810 + 1800, epoch=1.6)


def test_steps_that_move_within_an_epoch_are_movement() -> None:
    watch = Watch()
    for now_s in range(0, 4000, 10):
        assert not watch.sees(now_s, epoch=2, step=now_s)


def test_heartbeats_without_a_pulse_prove_no_standstill() -> None:
    """A writer that pauses for longer than the threshold, with a high `stale_after_s`, is silent, not stuck."""
    assert not Watch().sees_until(4000, kind="heartbeat", timestamp=UNIX_S)


def test_a_stuck_job_stays_stuck_through_heartbeats() -> None:
    watch = Watch()
    watch.sees_until(1800)
    assert "stuck" in watch.sees(1810, kind="heartbeat", timestamp=UNIX_S + 1800)


@pytest.mark.parametrize("state", ["idle", "stale", "done", "error", "gone"])
def test_only_a_running_job_is_stuck_and_it_counts_anew_when_it_goes_on(state: str) -> None:
    watch = Watch()
    watch.sees_until(1800)
    assert "stuck" not in watch.sees(1810, state=state)
    assert "stuck" not in watch.sees_until(1810 + 1790, start_s=1820)
    assert "stuck" in watch.sees(1810 + 1800)


def test_standstill_is_counted_from_each_connect() -> None:
    watch = Watch()
    watch.sees_until(1700)
    watch.memory.connect(5000)
    assert not watch.sees_until(6790, start_s=5000)
    assert "stuck" in watch.sees(6800)


def test_a_burst_after_a_pause_in_which_nobody_saw_the_job_proves_no_standstill() -> None:
    watch = Watch()
    watch.sees_until(100)
    assert not watch.sees(100 + GAP_S + 1800)
    assert not watch.sees(100 + GAP_S + 1801)


# Loss spikes


def test_a_loss_far_above_the_running_median_is_a_spike_until_it_is_back() -> None:
    watch = Watch()
    assert watch.loses([1.0] * MIN_LOSSES) == [False] * MIN_LOSSES
    assert watch.loses([3.0, 3.1, 2.9], start_s=100) == [False, True, False]


def test_too_few_losses_say_nothing() -> None:
    assert not any(Watch().loses([1.0] * (MIN_LOSSES - 1) + [100.0]))


def test_the_window_is_bounded_and_follows_the_training() -> None:
    watch = Watch(Policy(routes=(), rules=frozenset(RULES), loss_spike_window=10))
    watch.loses([8.0] * 50 + [1.0] * 10)
    assert len(watch.memory.losses) == 10
    assert watch.loses([4.0], start_s=200) == [True]


def test_a_heartbeat_counts_no_loss_twice_and_keeps_what_was_found() -> None:
    watch = Watch()
    watch.loses([1.0] * MIN_LOSSES + [9.0])
    count = len(watch.memory.losses)
    last = watch.before
    assert last is not None
    assert "loss-spike" in watch.sees(loss=9.0, epoch=last.epoch, timestamp=last.timestamp, kind="heartbeat")
    assert len(watch.memory.losses) == count


def test_a_new_run_begins_with_no_losses() -> None:
    watch = Watch()
    watch.loses([1.0] * MIN_LOSSES + [9.0])
    assert "loss-spike" not in watch.sees(100, run=UNIX_S + 100, loss=9.0)
    assert list(watch.memory.losses) == [9.0]


def test_a_median_of_zero_or_below_has_no_spikes() -> None:
    assert not any(Watch().loses([-1.0] * MIN_LOSSES + [5.0]))
    assert not any(Watch().loses([0.0] * MIN_LOSSES + [5.0]))


# Words


def test_an_end_says_what_became_of_the_job() -> None:
    assert describe_end("stale", make_job_event(state="running")) == "running again"
    assert describe_end("diverged", make_job_event(state="running")) == "the loss is finite again"
    assert describe_end("diverged", make_job_event(state="error")) == "stopped with an error"
    assert describe_end("stuck", make_job_event(state="gone")) == "its file is gone"


def test_a_silent_host_says_which_jobs_are_not_known_of() -> None:
    silence = Silence("node1", 1000, stopped=False, unfinished=tuple("abcdefg"))
    found = describe_silence(silence, 32_000)
    assert found.since_ms == 1000
    assert found.detail == (
        "the sidecar has said nothing for 31 s; not known since then: a, b, c, d, e and 2 more"
    )


def test_a_clean_stop_that_left_jobs_behind_says_so() -> None:
    found = describe_silence(Silence("node1", 1000, stopped=True, unfinished=("a", "b")), 32_000)
    assert found.detail == "the sidecar was stopped and left jobs unfinished: a, b"


@pytest.mark.parametrize(
    ("seconds", "words"), [(0, "0 s"), (65, "65 s"), (119, "119 s"), (1800, "30 min"), (7200, "2 h"), (3e5, "3 d")]
)
def test_durations_are_words(seconds: float, words: str) -> None:
    assert in_words(seconds) == words


def test_a_match_over_jobs_or_labels_means_no_host_itself() -> None:
    event = make_job_event(job="llm/a", labels={"team": "vision"})
    assert Match().meets("node1", None)
    assert Match(hosts=("node*",)).meets("node1", event)
    assert not Match(jobs=("llm/*",)).meets("node1", None)
    assert Match(jobs=("llm/*",), labels={"team": "v*"}).meets("node1", event)
    assert not Match(labels={"owner": "*"}).meets("node1", event)
