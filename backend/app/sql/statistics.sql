-- name: refresh_statistics
-- Tells the planner how many rows there are now.
SELECT statistics_refresh_v1();
