from login_pipeline_tests.backup.fixtures import empty, filled, kept

__all__ = ["empty", "filled", "kept"]
