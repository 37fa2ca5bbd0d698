"""Backs up user_logins and its inbox to Parquet files, and restores them."""
