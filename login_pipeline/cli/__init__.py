"""The command line: login-pipeline."""
