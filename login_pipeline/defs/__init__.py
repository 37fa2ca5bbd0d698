"""What Dagster shows: the assets in the order of the data, their checks, jobs and sensors."""
