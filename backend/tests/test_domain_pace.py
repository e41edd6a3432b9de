"""How fast a long job goes: its next chunk's size, and what makes it wait."""

import pytest

from backend.app.domain.pace import Load, Signal, judge, next_size, signals_of

QUIET = Load(active=0, live=0, lock_waits=0, oldest_seconds=0.0, replicas=0, unseen_replicas=0, replica_lag_seconds=0.0)


@pytest.mark.parametrize(
    ("size", "seconds", "size_max", "expected"),
    [
        (1000, 0.1, 1000, 1000),
        (1000, 0.2, 1000, 500),
        # At most half at once, whatever happened.
        (1000, 60.0, 1000, 500),
        (500, 0.05, 1000, 600),
        (60, 60.0, 1000, 50),
        # A small batch size of the operator's is kept.
        (5, 60.0, 5, 5),
        (1, 0.0, 5, 5),
        (1, 0.0, 1000, 50),
    ],
)
def test_next_size(size: int, seconds: float, size_max: int, expected: int) -> None:
    assert next_size(size, seconds=seconds, size_max=size_max) == expected


@pytest.mark.parametrize(
    ("load", "door", "is_stop", "rest_share", "reason"),
    [
        (QUIET, 0.001, False, 0.0, None),
        (QUIET._replace(lock_waits=1), 0.001, False, 0.0, None),
        (QUIET._replace(lock_waits=2), 0.001, True, 1.0, "lock waits 2 of 2"),
        (QUIET._replace(active=15), 0.001, False, 0.94, "busy sessions 15 of 16"),
        (QUIET._replace(active=16), 0.001, True, 1.0, "busy sessions 16 of 16"),
        (QUIET._replace(replica_lag_seconds=3.14), 0.001, True, 1.0, "replica lag 3.1 s of 1.5 s"),
        (QUIET, 0.06, True, 1.0, "money path 60 ms of 50 ms"),
        # Somebody's report may run for hours, and people may play all day: neither stops a backfill.
        (QUIET._replace(oldest_seconds=7200.0), 0.001, False, 1.0, "oldest transaction 7200 s of 1800 s"),
        (QUIET._replace(live=1), 0.001, False, 1.0, "live sessions 1 of 1"),
    ],
)
def test_signals(load: Load, door: float, is_stop: bool, rest_share: float, reason: str | None) -> None:
    throttle = judge(signals_of(load, cores=2, door_seconds=door, door_seconds_idle=0.001))
    assert (throttle.is_stop, throttle.reason) == (is_stop, reason)
    assert throttle.rest_share == pytest.approx(rest_share, abs=0.01)


def test_all_that_slow_a_job_down_are_named_worst_first() -> None:
    throttle = judge((Signal("a", 8, 10), Signal("b", 30, 10, " s"), Signal("c", 1, 10)))
    assert throttle.reason == "b 30 s of 10 s, a 8 of 10"
    assert throttle.is_stop


def test_slow_machine_is_measured_against_itself() -> None:
    slow = signals_of(QUIET, cores=2, door_seconds=0.3, door_seconds_idle=0.1)
    assert judge(slow).reason is None


def test_chunks_are_short_while_somebody_else_wants_the_machine() -> None:
    alone, beside = (
        judge(signals_of(QUIET, cores=2, door_seconds=0.001, door_seconds_idle=0.001)),
        judge(signals_of(QUIET._replace(live=1), cores=2, door_seconds=0.001, door_seconds_idle=0.001)),
    )
    sizes = [
        next_size(1000, seconds=0.03, size_max=1000, seconds_target=pace.chunk_seconds) for pace in (alone, beside)
    ]
    assert sizes == [1000, 500]
