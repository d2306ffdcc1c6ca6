import pytest

from pulse_bridge.event import State
from pulse_bridge.finish import FinishWatch


@pytest.mark.parametrize("state", ["done", "error"])
def test_a_job_that_was_seen_at_work_ends_with_its_result(state: State) -> None:
    watch = FinishWatch()
    watch.note("a", "running", age_s=0, known=False)
    assert not watch.all_finished
    watch.note("a", state, age_s=500, known=False)
    assert watch.all_finished


def test_without_jobs_nothing_is_finished() -> None:
    assert not FinishWatch().all_finished


@pytest.mark.parametrize(
    ("age_s", "known", "counts"), [(60, False, True), (60.1, False, False), (9e9, True, True), (-5, False, True)]
)
def test_a_result_at_first_sight_counts_only_if_fresh_or_known(age_s: float, *, known: bool, counts: bool) -> None:
    watch = FinishWatch()
    watch.note("a", "done", age_s=age_s, known=known)
    assert watch.all_finished is counts


def test_an_old_result_is_not_under_way_either() -> None:
    watch = FinishWatch()
    watch.note("old", "done", age_s=9e9, known=False)
    watch.note("new", "running", age_s=0, known=False)
    watch.note("new", "done", age_s=0, known=False)
    assert watch.all_finished


@pytest.mark.parametrize("state", ["idle", "running", "stale"])
def test_every_unfinished_job_holds_up_the_end(state: State) -> None:
    watch = FinishWatch()
    watch.note("a", "done", age_s=0, known=False)
    watch.note("b", state, age_s=0, known=False)
    assert not watch.all_finished


def test_a_new_run_of_a_finished_job_is_under_way_again() -> None:
    watch = FinishWatch()
    watch.note("a", "done", age_s=0, known=False)
    watch.note("a", "running", age_s=0, known=False)
    assert not watch.all_finished


def test_a_result_that_was_cleared_away_is_still_one() -> None:
    watch = FinishWatch()
    watch.note("a", "done", age_s=0, known=False)
    watch.note("a", "gone", age_s=0, known=False)
    assert watch.all_finished


def test_a_file_that_went_before_its_end_is_no_result() -> None:
    watch = FinishWatch()
    watch.note("a", "running", age_s=0, known=False)
    watch.note("a", "gone", age_s=0, known=False)
    assert not watch.all_finished


def test_a_job_whose_file_went_before_its_end_is_not_waited_for() -> None:
    watch = FinishWatch()
    watch.note("a", "running", age_s=0, known=False)
    watch.note("b", "running", age_s=0, known=False)
    watch.note("b", "gone", age_s=0, known=False)
    assert not watch.all_finished
    watch.note("a", "done", age_s=0, known=False)
    assert watch.all_finished
