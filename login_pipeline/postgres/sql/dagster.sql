-- Dagster's own database, and what Dagster 1.13 keeps there and has no call to delete: results of asset checks, which
-- outlive their run, and observations that no run made. Each statement commits for itself.

-- name: purge_check_results
DELETE FROM asset_check_executions WHERE run_id = ANY (%(run_ids)s);

-- The newest observation stays: the asset has a depth, however long ago it last changed.
-- name: purge_observations
DELETE FROM event_logs
WHERE id IN (
    SELECT id
    FROM event_logs
    WHERE asset_key = %(asset_key)s
      AND dagster_event_type = 'ASSET_OBSERVATION'
      AND run_id = ''
      AND "timestamp" < %(before)s
      AND id < (
          SELECT max(id)
          FROM event_logs
          WHERE asset_key = %(asset_key)s AND dagster_event_type = 'ASSET_OBSERVATION'
      )
    ORDER BY id
    LIMIT %(limit)s
);

-- name: size
SELECT pg_database_size(current_database());
