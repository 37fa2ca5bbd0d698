from collections.abc import Iterator

import pytest

from login_pipeline_tests.alerts.webhook import Webhook


@pytest.fixture
def webhook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Webhook]:
    """The one in LOGIN_ALERT_URL."""
    with Webhook() as webhook:
        monkeypatch.setenv("LOGIN_ALERT_URL", webhook.url)
        yield webhook
