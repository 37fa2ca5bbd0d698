-- Who logs in to the PostgreSQL of docker-compose.yml: the runs, the web server and maintenance.
-- The image runs this with psql, after roles.sql, once, when its volume is empty; later use ALTER ROLE.
\getenv run_password POSTGRES_RUN_PASSWORD
\getenv ui_password POSTGRES_UI_PASSWORD
\getenv maintenance_password POSTGRES_MAINTENANCE_PASSWORD

-- Dagster's own records are in a database of their own, backed up and dropped without the logins. They belong to a
-- role that both of Dagster's processes take on there: each can use what the other has created.
CREATE ROLE dagster NOLOGIN;
CREATE DATABASE dagster OWNER dagster;
REVOKE ALL ON DATABASE dagster FROM PUBLIC;

CREATE ROLE logins_run LOGIN PASSWORD :'run_password' IN ROLE login_pipeline_loader, dagster;
ALTER ROLE logins_run IN DATABASE dagster SET role = 'dagster';
CREATE ROLE logins_ui LOGIN PASSWORD :'ui_password' IN ROLE dagster;
ALTER ROLE logins_ui IN DATABASE dagster SET role = 'dagster';

CREATE ROLE logins_maintenance LOGIN PASSWORD :'maintenance_password' IN ROLE login_pipeline_owner;
-- What it creates belongs to the owner's role, and so to every other member of it.
ALTER ROLE logins_maintenance SET role = 'login_pipeline_owner';
