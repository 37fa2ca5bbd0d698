"""A Dagster project as create-dagster makes one, which login-pipeline is merged into."""
