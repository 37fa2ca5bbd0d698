from login_pipeline_tests.backup.fixtures import empty, other

__all__ = ["empty", "other"]
