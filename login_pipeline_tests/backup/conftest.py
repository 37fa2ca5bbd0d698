from login_pipeline_tests.backup.fixtures import filled, kept, other

__all__ = ["filled", "kept", "other"]
