"""The services and fixtures are those of the project's own tests."""

pytest_plugins = ["login_pipeline_tests.conftest"]
