from login_pipeline_tests.backup.fixtures import empty, filled, kept, other

__all__ = ["empty", "filled", "kept", "other"]
