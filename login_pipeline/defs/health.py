"""The sensor that sends people what goes wrong, and that it is over; and that logs the figures of each look."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

import dagster as dg
from pydantic import BaseModel, ValidationError

from login_pipeline.alerts.decision import Said, decide
from login_pipeline.alerts.delivery import deliver
from login_pipeline.defs.conditions import NEW_LETTERS, Watch, a_setting_is_wrong, what_is_wrong
from login_pipeline.defs.facts import Source, gather
from login_pipeline.defs.figures import RECENT, figures
from login_pipeline.defs.resources import LoginQueueResource
from login_pipeline.errors import LoginPipelineError
from login_pipeline.logs.setup import process_log
from login_pipeline.postgres.database import LoginDatabase
from login_pipeline.settings import LogFormat, read_alert_settings, read_load_settings, read_settings
from login_pipeline.sqs.login_queues import LoginQueues

LOOK_SECONDS = 60
# The event of the line that has the figures of a look: deploy/aws makes metrics of them.
LOOKED = "health"
# To read the depth of a queue: another look comes soon.
ATTEMPTS, READ_SECONDS = 1, 5


class Cursor(BaseModel):
    """What the sensor remembers from look to look."""

    watch: Watch
    said: Said


def health_sensor(prefix: Sequence[str] = ()) -> dg.SensorDefinition:
    """The sensor of what assets with this prefix say."""

    @dg.sensor(
        minimum_interval_seconds=LOOK_SECONDS,
        default_status=(
            dg.DefaultSensorStatus.RUNNING if read_load_settings().sensor_enabled else dg.DefaultSensorStatus.STOPPED
        ),
        description="Sends what goes wrong, and that it is over, to LOGIN_ALERT_URL. Looks once a minute.",
    )
    def health_sensor(context: dg.SensorEvaluationContext, login_sqs: LoginQueueResource) -> dg.SensorResult:
        """Looks, logs, and sends one message at most. What is not delivered is said at the next look."""
        now = datetime.now(UTC)
        try:
            alerts = read_alert_settings()
        except LoginPipelineError as error:
            return dg.SensorResult(skip_reason=error.sentence)
        unsaid = "LOGIN_ALERT_URL is not set, so nobody is sent what goes wrong"
        if alerts.alert_url is None and alerts.log_format is not LogFormat.JSON:
            return dg.SensorResult(skip_reason=unsaid)
        before = remembered(context.cursor, now)
        watch, silent = before.watch, list(Source)
        try:
            settings = read_settings()
        except LoginPipelineError as error:
            wrong, unsaid = a_setting_is_wrong(error), error.sentence
        else:
            options = login_sqs.client_options._replace(max_attempts=ATTEMPTS, read_timeout=READ_SECONDS)
            facts = gather(
                context.instance,
                LoginQueues(settings, options),
                LoginDatabase(settings, rotation_seconds=0),
                since=now - RECENT,
                letters_since=now - NEW_LETTERS,
                prefix=prefix,
            )
            # Without dead letters: those of an hour are not the recent ones.
            known = figures(replace(facts, dead_letters=None), settings)
            figured = {figure.name: figure.value for figure in known if figure.value not in (None, {})}
            process_log().info(LOOKED, **figured)
            watch, silent = watch.after(facts, now), list(facts.problems)
            wrong = what_is_wrong(facts, watch, settings, now)
        if alerts.alert_url is None:
            return dg.SensorResult(skip_reason=unsaid)
        decision = decide(wrong, silent, before.said, now)
        said, reason = decision.undelivered, "There is nothing new to say"
        if decision.message:
            try:
                deliver(decision.message, alerts)
                said, reason = decision.delivered, decision.message
            except LoginPipelineError as error:
                reason = error.sentence
                process_log().error("alert_not_delivered", error=error.sentence)
        return dg.SensorResult(skip_reason=reason, cursor=Cursor(watch=watch, said=said).model_dump_json())

    return health_sensor


def remembered(cursor: str | None, now: datetime) -> Cursor:
    """What the look before has remembered."""
    try:
        return Cursor.model_validate_json(cursor or "")
    except ValidationError:  # there was none; or somebody else's: a person can write the cursor in the UI
        return Cursor(watch=Watch(began=now), said=Said())
