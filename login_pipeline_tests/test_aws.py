"""What goes wrong with the AWS SDK is the same sentence for SQS, S3 and the stores of keys; doctor never raises it."""

import pytest
from botocore.exceptions import HTTPClientError, IncompleteReadError, ResponseStreamingError

from login_pipeline.aws import explain_sdk_errors
from login_pipeline.cli.doctor import examine
from login_pipeline.errors import ConfigurationError
from login_pipeline_tests.conftest import Pipeline


@pytest.mark.parametrize(
    ("variable", "subject", "settings"),
    [
        ("AWS_ENDPOINT_URL_SQS", "login queue", {}),
        ("AWS_ENDPOINT_URL_S3", "backup", {"LOGIN_BACKUP_URL": "s3://backups/logins"}),
        ("AWS_ENDPOINT_URL_SSM", "masking", {"LOGIN_MASKING_KEY_SOURCE": "ssm:key"}),
        ("AWS_ENDPOINT_URL_SECRETS_MANAGER", "masking", {"LOGIN_MASKING_KEY_SOURCE": "secretsmanager:key"}),
    ],
)
def test_doctor_names_the_endpoint_that_is_no_url(
    pipeline: Pipeline, variable: str, subject: str, settings: dict[str, str]
) -> None:
    if subject == "masking":
        pipeline.set(LOGIN_MASKING_KEY=None)
    pipeline.set(**{variable: "localhost:4566"}, **settings)
    finding = {each.subject: each for each in examine()}[subject]
    assert not finding.well
    assert finding.says.startswith(f"{variable} or AWS_ENDPOINT_URL is not the URL of an endpoint, so the SDK cannot ")


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (RuntimeError("Credentials were refreshed, but"), "The AWS credentials were expired when the SDK got them"),
        (
            ResponseStreamingError(error="reset"),
            r"S3 does not answer \(ResponseStreamingError\), so the SDK cannot use",
        ),
        (IncompleteReadError(actual_bytes=1, expected_bytes=2), r"S3 does not answer \(IncompleteReadError\)"),
        (HTTPClientError(error="header"), "The AWS SDK cannot use it through HTTPS_PROXY or HTTP_PROXY, or with these"),
    ],
)
def test_error_of_the_sdk_is_one_sentence(error: Exception, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says), explain_sdk_errors("S3", "use it"):
        raise error
