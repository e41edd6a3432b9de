-- name: read_clock
-- The database's time, by which sessions and tokens begin and end.
SELECT clock_timestamp() AS now;

-- name: list_failures
-- What is counted against these subjects in windows that are not over.
SELECT
    failure.subject,
    failure.failures,
    failure.window_started_at
FROM sign_in_failures AS failure
WHERE failure.subject = ANY(%(subjects)s) AND failure.window_started_at > %(over_since)s
ORDER BY failure.subject
LIMIT 10;

-- name: count_failure
-- Counts one failure against each subject, in key order; a window that is over starts anew.
INSERT INTO sign_in_failures AS failure (subject, failures, window_started_at)
SELECT
    counted.subject,
    1,
    %(now)s
FROM unnest(%(subjects)s::TEXT[]) AS counted (subject)
ORDER BY counted.subject
ON CONFLICT ON CONSTRAINT sign_in_failures_pkey DO UPDATE
SET
    failures = CASE WHEN failure.window_started_at > %(over_since)s THEN failure.failures + 1 ELSE 1 END,
    window_started_at = CASE
        WHEN failure.window_started_at > %(over_since)s THEN failure.window_started_at
        ELSE excluded.window_started_at
    END
RETURNING failure.subject, failure.failures, failure.window_started_at;

-- name: clear_failures
-- Forgets what was counted against a subject, unless it is too much and its window is not over.
DELETE FROM sign_in_failures AS failure
WHERE
    failure.subject = %(subject)s
    AND (failure.failures < %(failures_max)s OR failure.window_started_at <= %(over_since)s);

-- name: sweep_failures
-- Removes some windows that are over, the oldest first.
DELETE FROM sign_in_failures AS failure
WHERE failure.subject IN (
    SELECT expired.subject
    FROM sign_in_failures AS expired
    WHERE expired.window_started_at <= %(over_since)s
    ORDER BY expired.window_started_at, expired.subject
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
);
