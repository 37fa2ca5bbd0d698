from login_pipeline_tests.backup.fixtures import command, filled, kept, other

__all__ = ["command", "filled", "kept", "other"]
