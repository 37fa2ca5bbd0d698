from login_pipeline_tests.backup.fixtures import command, empty, filled, kept

__all__ = ["command", "empty", "filled", "kept"]
