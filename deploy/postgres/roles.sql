-- Four roles for the database of user_logins: its owner, the runs, those who read the logins, and auditors. Run this as a
-- superuser, or as a role with CREATEROLE that owns the database, connected to that database; again at any time:
--
--     psql -v ON_ERROR_STOP=1 -f roles.sql "$DATABASE_URL_OF_AN_ADMINISTRATOR"
--
-- Then give each role to those who log in. There is no password here; \password of psql sets one:
--
--     CREATE ROLE logins_maintenance LOGIN IN ROLE login_pipeline_owner;
--     ALTER ROLE logins_maintenance SET role = 'login_pipeline_owner';  -- what it creates belongs to the owner
--     CREATE ROLE logins_run LOGIN IN ROLE login_pipeline_loader;
--     CREATE ROLE analyst LOGIN IN ROLE login_pipeline_reader;
--     CREATE ROLE auditor LOGIN IN ROLE login_pipeline_auditor;
--
-- and run `login-pipeline prepare` with logins_maintenance in LOGIN_MAINTENANCE_DATABASE_URL: it creates the tables, and
-- gives the roles their rights on them, which are in login_pipeline/postgres/sql/grants.sql. So it does after each upgrade.
--
-- The tables are in the first schema of the search_path: public, unless you have set another one for all these roles.
-- In a database that others use, too, leave out the lines that take PUBLIC's rights away, and grant by hand.

DO $roles$
DECLARE
    role_name text;
BEGIN
    FOREACH role_name IN ARRAY ARRAY['login_pipeline_owner', 'login_pipeline_loader', 'login_pipeline_reader', 'login_pipeline_auditor'] LOOP
        IF to_regrole(role_name) IS NULL THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', role_name);
        END IF;
    END LOOP;
END
$roles$;

DO $rights$
DECLARE
    database_name text := current_database();
    schema_name   text := current_schema();
    table_name    text;
BEGIN
    -- Anybody who can log in to the server could connect here, and, before PostgreSQL 15, create tables.
    EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', database_name);
    EXECUTE format('REVOKE ALL ON SCHEMA %I FROM PUBLIC', schema_name);

    EXECUTE format('REVOKE ALL ON DATABASE %I FROM login_pipeline_owner, login_pipeline_loader, login_pipeline_reader, login_pipeline_auditor',
                   database_name);
    EXECUTE format('REVOKE ALL ON SCHEMA %I FROM login_pipeline_owner, login_pipeline_loader, login_pipeline_reader, login_pipeline_auditor',
                   schema_name);

    -- A load and a restore stage what they bring in temporary tables.
    EXECUTE format('GRANT CONNECT, TEMPORARY ON DATABASE %I TO login_pipeline_owner, login_pipeline_loader',
                   database_name);
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO login_pipeline_reader, login_pipeline_auditor', database_name);
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO login_pipeline_loader, login_pipeline_reader, login_pipeline_auditor', schema_name);
    EXECUTE format('GRANT USAGE, CREATE ON SCHEMA %I TO login_pipeline_owner', schema_name);

    -- Tables that were created as another role. A superuser may give them away; others must own them, and be allowed
    -- to become the new owner: GRANT login_pipeline_owner TO CURRENT_USER first.
    FOR table_name IN
        SELECT relname FROM pg_class
        WHERE relnamespace = to_regnamespace(quote_ident(schema_name)) AND relkind IN ('r', 'p')
          AND relowner <> 'login_pipeline_owner'::regrole
          AND (relname IN ('user_logins', 'user_logins_ledger', 'user_logins_inbox', 'user_logins_dead_letters', 'user_logins_unmaskings', 'user_logins_erasures', 'user_logins_backup')
               OR oid IN (
                   SELECT inhrelid FROM pg_inherits WHERE inhparent = to_regclass(format('%I.user_logins', schema_name))
               ))
    LOOP
        EXECUTE format('ALTER TABLE %I.%I OWNER TO login_pipeline_owner', schema_name, table_name);
    END LOOP;
    -- With a table's trigger function somebody could take the trigger away.
    FOR table_name IN
        SELECT proname FROM pg_proc
        WHERE pronamespace = to_regnamespace(quote_ident(schema_name))
          AND proname IN ('user_logins_unmaskings_are_final', 'user_logins_erasures_stay', 'user_logins_backup_is_locked_only')
          AND proowner <> 'login_pipeline_owner'::regrole
    LOOP
        EXECUTE format('ALTER FUNCTION %I.%I() OWNER TO login_pipeline_owner', schema_name, table_name);
    END LOOP;
END
$rights$;
