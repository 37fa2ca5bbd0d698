"""The faults that are an operator's: a drain that gets SIGTERM, and a redrive or an expiry that is killed."""

import random
import sys
from datetime import date, timedelta
from itertools import product

from login_pipeline.cli import main as cli
from login_pipeline.cli import options as cli_options
from login_pipeline.ingest.redrive import Redriven, redrive
from login_pipeline.local.ports import wait_until
from login_pipeline.postgres import statements
from login_pipeline.postgres.database import LoginDatabase
from login_pipeline.privacy.expiry import Expired, expire
from login_pipeline.settings import read_settings
from login_pipeline_tests.chaos.changes import hide_for_a_moment
from login_pipeline_tests.chaos.fault import FEW, Cycle, Fault, until_hit
from login_pipeline_tests.chaos.kills import LONGEST_LOAD
from login_pipeline_tests.chaos.messages import Draft, logins
from login_pipeline_tests.chaos.seams import ExpiryStep, Moment, Step
from login_pipeline_tests.chaos.world import World

# Seconds after the start within which a drain is interrupted.
LONGEST_MOMENT = 1.5
# The part of the drains that are interrupted when they hold messages, or held them just before.
WITH_MESSAGES = 0.7
# Seconds at most.
BETWEEN_SIGNALS = 0.3
# Seconds to end in: less than the 30 that Kubernetes gives a pod before it kills it.
GRACE = 25.0
# From the first letters that are held to the last delete.
REDRIVE_SECONDS = 0.3
# In which letters that a killed redrive held must be back.
VISIBLE_SECONDS = 10.0
EXPIRY_MOMENTS = [Moment(when, step) for step, when in product(ExpiryStep, ("before", "after"))]
RETENTION_DAYS = 9
# The logins that expire are of the days after this one.
FIRST_DAY = date(2020, 1, 1)
# At most, until some messages among others are loaded.
RUNS_TO_LOAD = 10
# What the user_ids begin with that a trigger refuses until it is dropped, and the condition with which it does.
AT_FIRST, CONDITION = "not-at-first-", "check_violation"


def drain_command() -> int:
    """`login-pipeline drain` itself; its exit code."""
    sys.argv = ["login-pipeline", "drain"]
    try:
        cli.main()
    except SystemExit as end:
        return int(end.code or 0)
    raise AssertionError("the command always exits")


def redrive_the_refused() -> Redriven:
    """What `login-pipeline redrive --reason` does."""
    return redrive(read_settings(), f"refused.{CONDITION}", dry_run=False)


def expire_old_logins() -> Expired:
    """What `login-pipeline expire` does with the table."""
    return expire(LoginDatabase(read_settings(), maintenance=True), days=RETENTION_DAYS)


def sigterm(times: int) -> Cycle:
    """A drain gets SIGTERM at a random moment, and must say that it was interrupted."""

    def attempt(world: World, source: random.Random) -> bool:
        process = world.start(drain_command)
        if source.random() < WITH_MESSAGES:
            process.reaches(Moment("after", Step.RECEIVE), seconds=10)
            process.listen(seconds=source.uniform(0, LONGEST_LOAD))
        else:
            process.listen(seconds=source.uniform(0, LONGEST_MOMENT))
        for _ in range(times):
            process.interrupt()
            process.listen(seconds=source.uniform(0, BETWEEN_SIGNALS))
        ended = process.end(seconds=GRACE)
        if ended.result not in (cli_options.DONE, cli_options.INTERRUPTED, None):
            raise AssertionError(f"a drain that was interrupted ended so: {ended}")
        return bool(ended.result == cli_options.INTERRUPTED)

    return until_hit(attempt)


def redrive_killed(world: World, source: random.Random) -> None:
    """Rows that a trigger refused are sent back once it is dropped; killed on the way, and then done again."""
    world.make_tables()
    _kill_a_redrive(world, source)
    visible = wait_until(
        lambda: world.dead_letter_queue.depth()[1] == 0, seconds=VISIBLE_SECONDS, still_possible=lambda: True
    )
    if not visible:
        raise AssertionError("letters that a killed redrive held did not come back")
    with world.sqs_proxy():
        done = world.ended(world.start(redrive_the_refused)).result
    if not done.complete or done.not_sent:
        raise AssertionError(f"a redrive left something: {done}")
    world.run()


@until_hit
def _kill_a_redrive(world: World, source: random.Random) -> bool:
    with world.refusing_rows(AT_FIRST, CONDITION), world.giving(LOGIN_BATCH_SIZE="100"):
        world.send(logins(source, source.randrange(5, 15), prefix=AT_FIRST))
        world.run()
    at_a_step = [Moment(when, Step.DELETE) for when in ("before", "after")]
    with world.sqs_proxy(), world.giving(hide_for_a_moment):
        process = world.start(redrive_the_refused, die_at=source.choice([None, *at_a_step]))
        process.reaches(Moment("after", Step.RECEIVE), seconds=10)
        process.listen(seconds=source.uniform(0, REDRIVE_SECONDS))
        process.kill()
        return world.ended(process).killed


def expiry_killed(world: World, source: random.Random) -> None:
    """Logins of a day long ago expire: killed on the way, and then done again. Later ones of that day are refused."""
    world.make_tables()
    _kill_an_expiry(world, source)
    world.ended(world.start(expire_old_logins))
    if world.database.query("SELECT FROM user_logins WHERE create_date < now() - interval '20 days'"):
        raise AssertionError("an expiry left rows")
    late = [draft._replace(valid=False) for draft in logins(source, 3)]
    world.send_dated(late, _last_expired(world))
    world.run()
    if world.database.query(statements.checks.rows_that_disagree_with_the_inbox)[0][1:] != (0, 0):
        raise AssertionError("rows and inbox disagree after an expiry")


@until_hit
def _kill_an_expiry(world: World, source: random.Random) -> bool:
    """Each time of a later day: those before are closed."""
    old = logins(source, source.randrange(5, 15))
    world.send_dated(old, _last_expired(world) + timedelta(days=1))
    _load(world, old)
    world.have_expired(old)
    return world.ended(world.start(expire_old_logins, die_at=source.choice(EXPIRY_MOMENTS))).killed


def _load(world: World, messages: list[Draft]) -> None:
    names = [draft.user_id for draft in messages]
    with world.giving(LOGIN_BATCH_SIZE="100"):
        for _ in range(RUNS_TO_LOAD):
            if world.database.query("SELECT count(*) FROM user_logins WHERE user_id = ANY (%s)", names) == [
                (len(names),)
            ]:
                return
            world.run()
    raise AssertionError("logins of a day long ago are not loaded")


def _last_expired(world: World) -> date:
    ((day,),) = world.database.query("SELECT max(create_date) FROM user_logins_ledger WHERE entry = 'expired'")
    return day or FIRST_DAY


INTERRUPTIONS = (
    Fault("SIGTERM", sigterm(1), FEW),
    Fault("SIGTERM twice", sigterm(2), FEW),
    Fault("redrive killed", redrive_killed, FEW),
    Fault("expiry killed", expiry_killed, FEW),
)
