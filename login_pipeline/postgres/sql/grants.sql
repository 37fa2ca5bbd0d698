-- What each role of deploy/postgres/roles.sql may do with the tables: named after the role, given by the tables' owner
-- whenever it runs `login-pipeline prepare`, so a new table is never without its grants. All other rights are revoked
-- first, PUBLIC's too: what is here is all there is. The owner itself needs none.

-- name: login_pipeline_loader
-- What a run and a backup need. It can change nothing that is loaded.
REVOKE ALL ON user_logins, user_logins_ledger, user_logins_inbox, user_logins_dead_letters, user_logins_unmaskings, user_logins_erasures, user_logins_backup FROM PUBLIC, login_pipeline_loader;
GRANT SELECT, INSERT ON user_logins, user_logins_inbox, user_logins_dead_letters TO login_pipeline_loader;
GRANT SELECT ON user_logins_ledger TO login_pipeline_loader; -- which dates are closed
GRANT SELECT ON user_logins_erasures, user_logins_unmaskings TO login_pipeline_loader; -- they are in the backup
GRANT SELECT, UPDATE ON user_logins_backup TO login_pipeline_loader; -- for its lock; a trigger refuses the UPDATE

-- name: login_pipeline_reader
-- The logins, and not what the pipeline keeps beside them.
REVOKE ALL ON user_logins, user_logins_ledger, user_logins_inbox, user_logins_dead_letters, user_logins_unmaskings, user_logins_erasures, user_logins_backup FROM PUBLIC, login_pipeline_reader;
GRANT SELECT ON user_logins TO login_pipeline_reader;

-- name: login_pipeline_auditor
-- Who was erased and whose masks were turned back, by whom and why, as tokens; and no login.
REVOKE ALL ON user_logins, user_logins_ledger, user_logins_inbox, user_logins_dead_letters, user_logins_unmaskings, user_logins_erasures, user_logins_backup FROM PUBLIC, login_pipeline_auditor;
GRANT SELECT ON user_logins_erasures, user_logins_unmaskings TO login_pipeline_auditor;
