-- Who may use the job queue: the service and nobody else. Jobs hold ids, never money: what a job does to money goes through
-- the door like everything else.
REVOKE ALL ON SCHEMA procrastinate FROM PUBLIC;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA procrastinate FROM PUBLIC;
REVOKE ALL ON FUNCTION job_defer_v1, job_take_up_v1, job_prune_v1 FROM PUBLIC;
GRANT USAGE ON SCHEMA procrastinate TO hakem_service;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA procrastinate TO hakem_service;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA procrastinate TO hakem_service;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA procrastinate TO hakem_service;
GRANT EXECUTE ON FUNCTION job_defer_v1, job_take_up_v1, job_prune_v1 TO hakem_service;
