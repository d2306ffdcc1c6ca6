from hypothesis import given
from hypothesis import strategies as st

from pulse_bridge.deadlines import Deadlines

JOBS = ("a", "b", "c")
WHEN = st.one_of(st.none(), st.integers(0, 30).map(float))
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("set"), st.sampled_from(JOBS), WHEN),
        st.tuples(st.just("pass"), st.just(""), st.integers(0, 10).map(float)),
    ),
    max_size=60,
)


@given(steps=STEPS)
def test_what_is_due_is_what_a_naive_list_says(steps: list[tuple[str, str, float | None]]) -> None:
    deadline_of: dict[str, float | None] = {}
    waiting: set[str] = set()
    deadlines = Deadlines(lambda job: deadline_of[job])
    now_s = 0.0
    for what, job, value in steps:
        if what == "set":
            deadline_of[job] = value
            deadlines.update(job)
            waiting.add(job)
        else:
            now_s += value or 0.0
            due = deadlines.due(now_s)
            expected = {job for job in waiting if (at_s := deadline_of[job]) is not None and at_s <= now_s}
            assert set(due) == expected
            assert len(due) == len(expected), "each once"
            waiting -= expected  # until `update`
        left = [at_s for job in waiting if (at_s := deadline_of[job]) is not None]
        assert not left or (deadlines.next_s is not None and deadlines.next_s <= min(left)), "woken in time"


@given(moves=st.lists(st.integers(0, 1000), min_size=1, max_size=200))
def test_a_deadline_that_only_moves_later_keeps_one_entry(moves: list[int]) -> None:
    at_s = [0.0]
    deadlines = Deadlines(lambda _: at_s[0])
    for move in moves:
        at_s[0] += move
        deadlines.update("a")
    assert len(deadlines._heap) == 1
    assert deadlines.due(at_s[0]) == ["a"]


def test_without_jobs_nothing_is_due() -> None:
    deadlines = Deadlines(lambda _: None)
    deadlines.update("a")
    assert deadlines.next_s is None
    assert deadlines.due(1e9) == []


def test_several_are_due_in_the_order_of_their_instants() -> None:
    at_s = {"late": 3.0, "early": 1.0, "middle": 2.0, "not yet": 9.0}
    deadlines = Deadlines(at_s.__getitem__)
    for job in at_s:
        deadlines.update(job)
    assert deadlines.due(5.0) == ["early", "middle", "late"]
    assert deadlines.next_s == 9.0
