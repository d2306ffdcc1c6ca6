"""The alerts from events to messages, through commits, restarts and replicas, on a fake clock."""

import asyncio
import json
import random

import pytest

from pulse_bridge.event import EventId
from pulse_bridge.subscriber import SubscriberUrl, open_subscriber
from pulse_bridge_alerts import AlertsSubscriber
from pulse_bridge_alerts.lookout import FORGET_S
from pulse_bridge_alerts.policy import RULES
from pulse_bridge_alerts.saved import BEGUN, OUT, read_incidents
from pulse_bridge_alerts.subscriber import BASELINE_S, YIELD_EVERY
from tests.support.alerting import Desk, make_policy

FLEET = [f"j{number:02}" for number in range(64)]


def test_it_is_opened_by_its_url() -> None:
    subscriber = open_subscriber(SubscriberUrl.parse("alerts?webhook=http%3A%2F%2F127.0.0.1%3A9%2Fx"))
    assert isinstance(subscriber, AlertsSubscriber)
    assert subscriber.durable
    assert subscriber.tick_s <= 0.2


# From an event to a message


@pytest.mark.parametrize(
    ("states", "words"),
    [
        (["running", "stale", "running"], ["open stale a", "close stale a"]),
        (["running", "error", "running"], ["open error a", "close error a"]),
        (["running", "error", "idle"], ["open error a", "close error a"]),
        (["running", "error", "gone"], ["open error a", "close error a"]),
        (["running", "stale", "gone"], ["open stale a", "close stale a"]),
        (["running", "stale", "done"], ["open stale a", "close stale a", "open done a"]),
        (["running", "stale", "error"], ["open stale a", "close stale a", "open error a"]),
        (["running", "done", "done", "gone"], ["open done a"]),
        (["running", "done", "idle", "done"], ["open done a"]),
        (["gone", "stale"], ["open stale a"]),
        (["stale"], ["open stale a"]),
        (["running", "idle", "running", "gone"], []),
    ],
)
async def test_a_job_s_states_are_told(states: list[str], words: list[str]) -> None:
    async with Desk(make_policy()) as desk:
        await desk.begin(desk.job("other"))
        await desk.happens("a", *states)
        assert desk.words == words


async def test_a_job_that_goes_while_its_incident_is_open_closes_it_and_says_so() -> None:
    async with Desk(make_policy()) as desk:
        await desk.begin()
        await desk.happens("a", "stale", "gone")
        assert desk.told[1].notices[0].detail == "its file is gone"


async def test_each_run_has_its_end() -> None:
    async with Desk(make_policy("done")) as desk:
        await desk.begin()
        for run in range(1, 4):
            await desk.give(desk.job(run=run))
            await desk.give(desk.job(state="done", run=run))
            await desk.wait(31)
        await desk.give(desk.job(state="done", run=9))  # what ran before it was not seen
        assert desk.words == ["open done a"] * 4


async def test_a_loss_that_diverges_is_told_and_the_next_run_ends_it() -> None:
    async with Desk(make_policy()) as desk:
        await desk.begin()
        await desk.give(desk.job(loss=None, diverged=True))
        await desk.give(desk.job(run=7))
        assert desk.words == ["open diverged a", "close diverged a"]


async def test_a_notice_carries_the_event_for_its_numbers() -> None:
    async with Desk(make_policy()) as desk:
        await desk.begin()
        await desk.give(desk.job(state="error", message="CUDA out of memory", loss=0.5))
        event = json.loads(str(desk.told[0].notices[0].event))
        assert (event["message"], event["loss"], event["job"]) == ("CUDA out of memory", 0.5, "a")


async def test_64_jobs_that_go_stale_and_recover_are_at_most_two_messages_each_way() -> None:
    async with Desk(make_policy("stale")) as desk:
        await desk.begin(*(desk.job(job) for job in FLEET))
        for state in ("stale", "running"):
            for job in FLEET:
                await desk.happens(job, state)
                await desk.wait(0.2, 0.2)
            await desk.wait(60)
        assert [message.notices[0].phase for message in desk.told] == ["open", "open", "close", "close"]
        assert [len(message.notices) for message in desk.told] == [1, 63, 1, 63]


async def test_a_stuck_job_is_told_and_its_movement_too() -> None:
    async with Desk(make_policy("stuck")) as desk:
        await desk.begin(desk.job())
        for _ in range(181):
            await desk.wait(10, 10)
            await desk.give(desk.job())
        assert desk.words == ["open stuck a"]
        await desk.restart()
        await desk.give(desk.job())
        assert desk.words == ["open stuck a"]
        await desk.give(desk.job(epoch=1.75))
        assert desk.words == ["open stuck a", "close stuck a"]


async def test_loss_spikes_are_judged_over_a_restart_by_the_losses_before() -> None:
    async with Desk(make_policy(*RULES)) as desk:
        await desk.begin()
        for loss in range(30):
            await desk.give(desk.job(loss=1 + loss % 2))
            await desk.wait(10, 10)
        await desk.restart()
        await desk.give(desk.job(loss=50))
        assert desk.words == ["open loss-spike a"]


# Hosts


async def test_a_host_that_falls_silent_is_told_once_and_when_it_is_heard_again() -> None:
    async with Desk(make_policy()) as desk:
        await desk.begin(desk.job())
        await desk.wait(600)
        assert desk.words == ["open host-silent node1"]
        assert "not known since then: a" in desk.told[0].notices[0].detail
        await desk.give(desk.host())
        assert desk.words == ["open host-silent node1", "close host-silent node1"]


async def test_a_host_that_speaks_is_not_silent() -> None:
    async with Desk(make_policy()) as desk:
        desk.speaking = {"node1"}
        await desk.begin(desk.job())
        await desk.wait(600)
        assert not desk.told


async def test_while_a_host_is_silent_nothing_else_is_found_of_its_jobs() -> None:
    async with Desk(make_policy()) as desk:
        await desk.begin(desk.job("a"), desk.job("b", "stale"))
        await desk.wait(7200, 5)
        assert desk.words == ["open host-silent node1"]


async def test_a_clean_stop_is_silence_only_if_it_left_jobs_behind() -> None:
    async with Desk(make_policy("host-silent")) as desk:
        await desk.begin(desk.job())
        await desk.happens("a", "done")
        await desk.give(desk.host(stopping=True), desk.host("node2"), desk.job("b", host="node2"))
        await desk.give(desk.host("node2", stopping=True))
        await desk.wait(600)
        assert desk.words == ["open host-silent node2"]
        assert desk.told[0].notices[0].detail == "the sidecar was stopped and left jobs unfinished: b"


async def test_a_host_that_was_silent_before_the_first_start_is_no_news_till_it_is_heard() -> None:
    async with Desk(make_policy()) as desk:
        await desk.give(desk.host("old"), desk.job(host="old"), desk.host("new"), snapshot=True)
        await desk.give(desk.host("new"))
        await desk.wait(100)
        assert desk.words == ["open host-silent new"]
        await desk.give(desk.host("old"))
        await desk.wait(100)
        assert desk.words == ["open host-silent new", "open host-silent old"]


async def test_silence_is_judged_from_each_connect_and_stays_told() -> None:
    async with Desk(make_policy()) as desk:
        await desk.begin(desk.job())
        desk.now_s += 5000
        await desk.reconnect()
        await desk.wait(29)
        assert not desk.told
        await desk.wait(600)
        await desk.restart()
        await desk.wait(600)
        assert desk.words == ["open host-silent node1"]
        since_ms = desk.told[0].notices[0].since_ms
        assert desk.wall_ms - since_ms == pytest.approx((5000 + 29 + 600 + 600) * 1000, abs=1000)


async def test_what_a_bus_kept_of_a_silent_host_is_no_word_of_it_but_a_later_word_is() -> None:
    async with Desk(make_policy()) as desk:
        host, job = desk.host(), desk.job()
        await desk.begin(host, job)
        last = desk.host()
        await desk.give(last)
        await desk.wait(100)
        await desk.restart()
        await desk.give(last, job, snapshot=True)
        assert desk.words == ["open host-silent node1"]
        await desk.restart()
        await desk.give(desk.host(), snapshot=True)
        assert desk.words == ["open host-silent node1", "close host-silent node1"]


# The first start, and later ones


async def test_what_was_so_before_the_first_start_is_no_news_nor_is_its_end() -> None:
    async with Desk(make_policy(*RULES)) as desk:
        states = ("stale", "error", "done", "running", "idle", "gone")
        await desk.begin(
            *(desk.job(state, state) for state in states), desk.job("diverged", loss=None, diverged=True)
        )
        await desk.wait(20)
        await desk.restart()
        for state in (*states, "diverged"):
            await desk.happens(state, "running")
        await desk.wait(20)
        assert not desk.told
        await desk.happens("stale", "stale")
        assert desk.words == ["open stale stale"]


async def test_a_job_that_appears_later_is_judged_from_its_first_event() -> None:
    async with Desk(make_policy()) as desk:
        await desk.begin(desk.job("a"))
        await desk.give(desk.job("late", "error"))
        await desk.give(desk.job("later", "stale"), snapshot=True)
        assert desk.words == ["open error late", "open stale later"]


async def test_a_first_snapshot_may_come_in_parts() -> None:
    async with Desk(make_policy()) as desk:
        await desk.give(desk.job("a", "stale"), snapshot=True)
        await desk.wait(BASELINE_S - 1)
        await desk.give(desk.job("b", "stale"), snapshot=True)
        assert not desk.told
        assert BEGUN not in desk.saved
        await desk.wait(BASELINE_S)
        assert BEGUN in desk.saved
        await desk.give(desk.job("c", "stale"), snapshot=True)
        assert desk.words == ["open stale c"]


async def test_the_first_start_on_an_empty_bus_begins_too() -> None:
    async with Desk(make_policy()) as desk:
        await desk.give(snapshot=True)
        await desk.happens("a", "error")
        assert desk.words == ["open error a"]


async def test_a_later_snapshot_is_compared_like_any_events() -> None:
    async with Desk(make_policy("stale")) as desk:
        await desk.begin(desk.job("a"), desk.job("b"), desk.job("c"))
        await desk.happens("a", "stale")
        await desk.happens("c", "stale")
        await desk.restart()
        await desk.give(desk.job("a"), desk.job("b", "stale"), desk.job("c", "stale"), snapshot=True)
        await desk.wait(31)
        assert desk.words == ["open stale a", "close stale a", "open stale c b"]


async def test_a_restart_of_the_subscriber_tells_nothing_of_what_is_known() -> None:
    async with Desk(make_policy()) as desk:
        desk.speaking = {"node1"}
        jobs = [desk.job("a"), desk.job("b")]
        await desk.begin(*jobs)
        await desk.happens("a", "stale")
        await desk.happens("b", "error")
        await desk.tick()
        told = list(desk.words)
        for _ in range(3):
            await desk.restart()
            await desk.give(desk.job("a", "stale", kind="heartbeat"), desk.job("b", "error"), snapshot=True)
            await desk.wait(100)
            await desk.reconnect()
            await desk.wait(100)
        assert desk.words == told == ["open stale a", "open error b"]


async def test_a_bus_that_came_back_from_an_older_dump_makes_nobody_hear_a_thing_twice() -> None:
    desk = Desk(make_policy("stale", "error"))
    dumps = []
    async with desk:
        dumps.append(dict(desk.saved))
        await desk.begin(desk.job("a"), desk.job("b"))
        await desk.restart()
        dumps.append(dict(desk.saved))  # of the process before
        desk.sink.holds = True
        error = desk.job("b", "error")
        await desk.give(error)
        dumps.append(dict(desk.saved))  # with a message on its way
        desk.sink.holds = False
        stale = desk.job("a", "stale")
        await desk.give(stale)
        await desk.tick()
        for dump in dumps:
            desk.saved = dict(dump)
            await desk.reconnect()
            await desk.give(error, stale, snapshot=not dump)
            await desk.wait(40)
            assert desk.words == ["open error b", "open stale a"]
        assert not [key for key in desk.saved if key.startswith("out:")]
        await desk.restart()
        await desk.wait(40)
    assert desk.words == ["open error b", "open stale a"]


async def test_what_another_replica_has_stored_is_believed_though_this_one_knows_less() -> None:
    desk = Desk(make_policy("stale"))
    async with desk:
        await desk.begin(desk.job("a"))
        first = desk.alerting
        await desk.restart()
        await desk.happens("a", "stale")
        desk.alerting = first
        async with first.lifespan():
            await desk.reconnect()
            await desk.happens("a", "running")
            await desk.tick()
    assert desk.words == ["open stale a", "close stale a"]


async def test_a_restart_amid_a_group_is_no_reason_to_tell_sooner() -> None:
    desk = Desk(make_policy("stale"))
    async with desk:
        await desk.begin(*(desk.job(name) for name in "abcd"))
        await desk.happens("a", "stale")
        await desk.wait(5)
        await desk.happens("b", "stale")
        await desk.restart()
        await desk.wait(5)
        await desk.happens("c", "stale")
        await desk.restart()
        await desk.happens("d", "stale")
        await desk.wait(60)
    assert desk.words == ["open stale a", "open stale b c d"]


async def test_an_end_that_a_sidecar_without_its_journal_sees_again_is_no_news() -> None:
    desk = Desk(make_policy("done", "error"))
    async with desk:
        await desk.begin(desk.job("a"), desk.job("b"))
        ended = {name: desk.job(name, state) for name, state in (("a", "done"), ("b", "error"))}
        await desk.give(*ended.values())
        await desk.wait(60)
        for name, event in ended.items():
            await desk.give(event._replace(id=EventId(f"anew{name}", 1), run=event.run + 99))
        await desk.wait(60)
        assert desk.words == ["open done a", "open error b"]
        await desk.happens("a", "done")
        await desk.wait(60)
    assert desk.words[2:] == ["open done a"], "a run whose begin nobody saw ends, too"


async def test_a_broker_that_forgot_everything_is_told_again_and_nobody_else_is() -> None:
    async with Desk(make_policy()) as desk:
        desk.speaking = {"node1"}
        await desk.begin(desk.job("a"), desk.job("b"))
        await desk.happens("a", "stale")
        desk.saved.clear()
        await desk.reconnect()
        await desk.give(desk.job("a", "stale"), desk.job("b"), snapshot=True)
        await desk.wait(100)
        assert desk.words == ["open stale a"]
        await desk.restart()
        await desk.happens("a", "running")
        assert desk.words == ["open stale a", "close stale a"]


async def test_a_group_that_resumes_is_told_what_happened_meanwhile_except_what_is_long_past() -> None:
    async with Desk(make_policy("stale", "done")) as desk:
        await desk.begin(*(desk.job(job) for job in ("past", "ended", "lasting", "finished")))
        await desk.restart()
        backlog = [
            desk.job("past", "stale"),
            desk.job("ended", "stale"),
            desk.job("lasting", "stale"),
            desk.job("finished", "done"),
        ]
        desk.now_s += 700
        backlog.append(desk.job("past"))
        desk.now_s += 500
        backlog.append(desk.job("ended"))
        desk.now_s += 500
        await desk.give(*backlog[:3])
        await desk.give(*backlog[3:])
        await desk.wait(60)
        assert desk.words == ["close stale ended", "open stale lasting", "open done finished"]


async def test_a_wrong_clock_of_a_host_delays_and_loses_nothing_that_lasts() -> None:
    async with Desk(make_policy("stale")) as desk:
        desk.speaking = {"node1"}
        await desk.begin(desk.job(observed_ms=1000))
        for observed_ms in range(2000, 7_202_000, 600_000):
            await desk.give(desk.job(state="stale", observed_ms=observed_ms))
            await desk.wait(600, 5)
        assert desk.words == ["open stale a"]
        await desk.give(desk.job(observed_ms=7_202_000))
        assert desk.words == ["open stale a", "close stale a"]


async def test_events_that_come_again_change_nothing() -> None:
    async with Desk(make_policy()) as desk:
        events = [desk.job(), desk.job(state="stale"), desk.job(), desk.job(state="error"), desk.job()]
        await desk.begin()
        for event in events:
            await desk.give(event)
        told = list(desk.words)
        for event in events:
            await desk.give(event)
        assert desk.words == told


async def test_flapping_is_muted_over_restarts_and_its_end_is_told_when_quiet() -> None:
    async with Desk(make_policy("stale")) as desk:
        await desk.begin()
        for _ in range(10):
            await desk.happens("a", "stale")
            await desk.wait(20)
            await desk.restart()
            await desk.happens("a", "running")
            await desk.wait(20)
            await desk.restart()
        assert desk.words == ["open stale a", "close stale a", "flapping stale a"]
        await desk.wait(600)
        assert desk.words[3:] == ["close stale a"]


async def test_a_rule_or_route_that_is_taken_away_takes_its_incidents_along() -> None:
    async with Desk(make_policy()) as desk:
        await desk.begin()
        await desk.happens("a", "stale")
        await desk.tick()
        await desk.restart(make_policy("error"))
        await desk.happens("a", "running")
        assert desk.words == ["open stale a"]
        assert not read_incidents(desk.saved, desk.at)


# At least once


async def test_a_message_is_sent_only_behind_the_commit_that_stores_it() -> None:
    async with Desk(make_policy()) as desk:
        await desk.begin()
        event = desk.job(state="error")
        await desk.give(event, commit=False)
        assert not desk.told
        await desk.restart()
        assert not desk.told
        await desk.give(event)
        assert desk.words == ["open error a"]


async def test_at_a_stop_what_waits_for_its_group_is_told_for_there_may_be_no_next_start() -> None:
    desk = Desk(make_policy("done"))
    async with desk:
        await desk.begin(desk.job("a"), desk.job("b"))
        await desk.happens("a", "done")
        await desk.happens("b", "done")
        await desk.tick()
        assert desk.words == ["open done a"]
        await desk.stop()
    assert desk.words == ["open done a", "open done b"]
    assert not [key for key in desk.saved if key.startswith("out:")], "and is not told again"


async def test_what_no_target_took_before_the_end_is_kept_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    async with Desk(make_policy()) as desk:
        await desk.begin()
        desk.sink.holds = True
        await desk.happens("a", "error")
        await desk.stop()
    assert [key for key in desk.saved if key.startswith(OUT)]
    assert [record.message for record in caplog.records] == [
        "not everything is told at the end; it is kept for the next start"
    ]


async def test_an_incident_and_its_message_are_stored_in_one_commit() -> None:
    async with Desk(make_policy()) as desk:
        await desk.begin()
        await desk.happens("a", "error")
        (changes,) = [changes for changes in desk.commits if any(key.startswith(OUT) for key in changes)]
        assert {key.partition(":")[0] for key in changes} == {"incident", "job", "out", "stamp"}


async def test_a_message_that_is_not_finished_is_sent_by_the_next_replica_under_the_same_id() -> None:
    async with Desk(make_policy()) as desk:
        desk.sink.holds = True
        await desk.begin()
        await desk.happens("a", "error", "running")
        assert len(desk.told) == 2
        await desk.wait(20)
        await desk.restart()
        assert desk.words == ["open error a", "close error a"] * 2
        assert [message.id for message in desk.told[:2]] == [message.id for message in desk.told[2:]]


async def test_a_finished_message_is_forgotten_and_not_sent_again() -> None:
    async with Desk(make_policy()) as desk:
        await desk.begin()
        await desk.happens("a", "error")
        await desk.tick()
        assert not [key for key in desk.saved if key.startswith(OUT)]
        await desk.restart()
        await desk.wait(10)
        assert desk.words == ["open error a"]


async def test_what_was_finished_while_the_bus_was_away_is_not_sent_again() -> None:
    async with Desk(make_policy()) as desk:
        await desk.begin()
        await desk.happens("a", "error")
        before = dict(desk.saved)
        await desk.alerting.on_tick(desk.at)  # and the commit of its removal fails
        desk.saved = before
        desk.sink._known.clear()
        await desk.reconnect()
        await desk.tick()
        assert desk.words == ["open error a"]
        assert not [key for key in desk.saved if key.startswith(OUT)]


async def test_two_replicas_that_take_turns_tell_everything_once() -> None:
    dice = random.Random(4)
    async with Desk(make_policy("stale", "error", group_s=5.0, quiet_s=10.0)) as desk:
        await desk.begin(*(desk.job(job) for job in "abcd"))
        is_open = dict.fromkeys("abcd", False)
        for _ in range(200):
            job = dice.choice("abcd")
            event = desk.job(job, "running" if is_open[job] else "stale")
            is_open[job] = not is_open[job]
            if dice.random() < 0.3:
                await desk.tick()  # what the sink has answered is stored
                await desk.give(event, commit=False)
                await desk.restart()
            await desk.give(event)
            await desk.wait(dice.choice([0.5, 4.0, 30.0]))
        await desk.wait(60)
        last_words = {str(notice.job): notice.phase for message in desk.told for notice in message.notices}
        assert {job: last_words[job] == "open" for job in "abcd"} == is_open
        assert len({message.id for message in desk.told}) == len(desk.told)


# What is stored


async def test_heartbeats_and_ordinary_pulses_store_next_to_nothing() -> None:
    async with Desk(make_policy()) as desk:
        jobs = [f"j{number}" for number in range(200)]
        await desk.begin(*(desk.job(job) for job in jobs))
        desk.commits.clear()
        for minute in range(10):
            for _ in range(6):
                await desk.wait(10, 10)
                await desk.give(*(desk.job(job, epoch=minute / 10) for job in jobs))
        assert sum(len(changes) for changes in desk.commits) <= 24  # its host's last word and a stamp, each minute
        assert not desk.told


async def test_a_quiet_tick_stores_nothing() -> None:
    async with Desk(make_policy()) as desk:
        await desk.begin(desk.job())
        assert not await desk.alerting.on_tick(desk.at)


async def test_what_is_long_gone_is_forgotten_and_no_news_when_a_bus_still_has_it() -> None:
    async with Desk(make_policy()) as desk:
        finished = desk.job("old", "error")
        await desk.begin()
        await desk.give(finished, desk.job("new", host="node2"))
        await desk.wait(100)
        told = list(desk.words)
        desk.now_s += FORGET_S
        await desk.give(desk.job("new", host="node2"))
        await desk.wait(61)
        assert not [key for key in desk.saved if "old" in key or key == "host:node1"]
        assert "job:node2/new" in desk.saved
        assert [incident.job for incident in read_incidents(desk.saved, desk.at)].count("old") == 0
        told = list(desk.words)
        await desk.give(finished._replace(id=EventId("relayed", 1)), snapshot=True)
        await desk.give(desk.job("new", host="node2"))
        await desk.wait(5)
        assert desk.words == told


async def test_what_cannot_be_read_is_said_and_done_without(caplog: pytest.LogCaptureFixture) -> None:
    async with Desk(make_policy()) as desk:
        await desk.begin(desk.job())
        await desk.happens("a", "error")
        broken = ("job:node1/a", "host:node1", "incident:x", "out:1-x")
        for key in broken:
            desk.saved[key] = "{}" if key.startswith("job") else "no JSON"
        await desk.restart()
        await desk.give(desk.host())
        assert {getattr(record, "key", getattr(record, "id", "")) for record in caplog.records} == {
            "job:node1/a",
            "host:node1",
            "incident:x",
            "1-x",
        }
        assert not desk.saved.keys() & {"job:node1/a", "incident:x", "out:1-x"}


async def test_open_and_recent_incidents_can_be_listed_from_what_is_stored() -> None:
    async with Desk(make_policy()) as desk:
        await desk.begin(desk.job("known", "error"))
        await desk.happens("a", "stale")
        await desk.wait(1)
        await desk.happens("b", "stale", "running")
        await desk.wait(1)
        listed = [(i.job, i.is_open, i.known) for i in read_incidents(desk.saved, desk.at)]
        assert sorted(listed) == [("a", True, False), ("b", False, False), ("known", True, True)]


async def test_thousands_of_jobs_at_once_leave_turns_to_others() -> None:
    """The sidecar may run in the same loop."""
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with Desk(make_policy()) as desk:
        events = [desk.job(f"j{number}") for number in range(3 * YIELD_EVERY)]
        other = asyncio.ensure_future(count_turns())
        await desk.begin(*events)
        after_snapshot = turns
        await desk.restart()
        other.cancel()
        assert after_snapshot >= 3
        assert turns >= after_snapshot + 3
