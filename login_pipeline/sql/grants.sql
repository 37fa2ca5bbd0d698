-- What each role of deploy/postgres/roles.sql may do with the tables: named after the role, given by the tables' owner
-- whenever it runs `login-pipeline prepare`, so a new table is never without its grants. All other rights are revoked
-- first, PUBLIC's too: what stands here is all there is. The owner itself needs none.

-- name: login_pipeline_loader
-- What a run needs. No UPDATE, DELETE or TRUNCATE: it cannot change what is loaded.
REVOKE ALL ON user_logins, user_logins_inbox, user_logins_dead_letters, user_logins_unmaskings, user_logins_erasures FROM PUBLIC, login_pipeline_loader;
GRANT SELECT, INSERT ON user_logins, user_logins_inbox, user_logins_dead_letters TO login_pipeline_loader;
GRANT SELECT ON user_logins_erasures TO login_pipeline_loader; -- a backup says which of them it has seen

-- name: login_pipeline_reader
-- The logins, and not what the pipeline keeps beside them.
REVOKE ALL ON user_logins, user_logins_inbox, user_logins_dead_letters, user_logins_unmaskings, user_logins_erasures FROM PUBLIC, login_pipeline_reader;
GRANT SELECT ON user_logins TO login_pipeline_reader;
