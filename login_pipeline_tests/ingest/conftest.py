import pytest

from login_pipeline.postgres.database import LoginDatabase
from login_pipeline.settings import read_settings
from login_pipeline_tests.backup.fixtures import empty
from login_pipeline_tests.conftest import Pipeline

__all__ = ["empty"]


@pytest.fixture
def prepared(pipeline: Pipeline) -> Pipeline:
    """The tables are there."""
    LoginDatabase(read_settings()).prepare()
    return pipeline
