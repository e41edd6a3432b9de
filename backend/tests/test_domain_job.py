"""Schedules and pauses of jobs, as tables."""

from datetime import datetime

import pytest

from backend.app.domain.job import AbandonedJob, PeriodicJob, pause_before_retry, pause_between_runs, schedule_of


async def do_nothing(_now: datetime) -> int:
    return 0


def every(seconds: float) -> PeriodicJob:
    return PeriodicJob(name="a.job", run=do_nothing, every_seconds=seconds, deadline_seconds=1)


@pytest.mark.parametrize(
    ("seconds", "line"),
    [
        (15, "* * * * * */15"),
        (30, "* * * * * */30"),
        (60, "*/1 * * * *"),
        (300, "*/5 * * * *"),
        (3600, "0 */1 * * *"),
        (21_600, "0 */6 * * *"),
        (86_400, "0 0 * * *"),
    ],
)
def test_interval_becomes_a_line_with_evenly_spaced_ticks(seconds: float, line: str) -> None:
    job = every(seconds)
    assert job.is_queued
    assert schedule_of(job) == line


@pytest.mark.parametrize("seconds", [17, 45, 90, 7 * 60, 5 * 3600, 100_000, 15.5])
def test_interval_whose_ticks_would_not_be_even_is_refused(seconds: float) -> None:
    with pytest.raises(AssertionError):
        every(seconds)


@pytest.mark.parametrize("seconds", [0.05, 1, 2, 14.9])
def test_short_interval_is_looped(seconds: float) -> None:
    assert not every(seconds).is_queued


@pytest.mark.parametrize("name", ["", "A.job", "a job", "a" * 40, "1st"])
def test_name_that_is_no_name_for_a_queue_is_refused(name: str) -> None:
    with pytest.raises(AssertionError, match="not a name"):
        PeriodicJob(name=name, run=do_nothing, every_seconds=60, deadline_seconds=1)


@pytest.mark.parametrize("values", [{}, {"every_seconds": 60, "cron": "* * * * *"}, {"cron": "* * *"}])
def test_job_has_one_schedule(values: dict[str, object]) -> None:
    with pytest.raises(AssertionError):
        PeriodicJob(name="a.job", run=do_nothing, deadline_seconds=1, **values)  # type: ignore[arg-type]  # on purpose


def test_cron_line_is_kept() -> None:
    job = PeriodicJob(name="a.job", run=do_nothing, cron="15 3 * * *", deadline_seconds=1)
    assert (job.is_queued, schedule_of(job)) == (True, "15 3 * * *")


def test_pauses_before_retries_grow_up_to_an_hour() -> None:
    assert [pause_before_retry(attempts) for attempts in (1, 2, 3, 10, 11, 1000)] == [5, 10, 20, 2560, 3600, 3600]


@pytest.mark.parametrize(
    ("every_seconds", "failures", "pause"), [(1, 0, 1), (1, 1, 2), (1, 3, 8), (1, 9, 30), (0.05, 1000, 30), (40, 5, 40)]
)
def test_loop_that_fails_slows_down(every_seconds: float, failures: int, pause: float) -> None:
    assert pause_between_runs(every_seconds, failures=failures) == pause


def test_attempt_that_killed_its_process_counts() -> None:
    job = AbandonedJob(id=1, name="a.job", worker_id=None, attempts=2, attempts_max=4)
    assert not job.is_last_attempt
    assert job._replace(attempts=3).is_last_attempt
