"""The faults that are in the messages: what the contract rejects, and what only the database refuses."""

import random
import uuid

from login_pipeline_tests.bodies import POISON
from login_pipeline_tests.chaos.fault import FEW, Fault
from login_pipeline_tests.chaos.messages import Draft, logins
from login_pipeline_tests.chaos.tables import make_tables, refuse_rows
from login_pipeline_tests.chaos.world import World

# What the user_ids begin with that a trigger refuses for as long as the world is there.
NEVER_TAKEN = "never-taken-"
BATCH = {"LOGIN_BATCH_SIZE": "100"}


def poison(world: World, source: random.Random) -> None:
    """One body for each reason to reject one, among good ones."""
    by_reason: dict[str, list[str]] = {}
    for each in POISON:
        by_reason.setdefault(each.reason, []).append(each.body)
    for bodies in by_reason.values():
        world.send([_recognisable(source.choice(bodies), source), *logins(source, 1)])
    with world.giving(**BATCH):
        world.run()


def rows_refused(world: World, source: random.Random) -> None:
    """Some messages are valid, and a trigger refuses their rows; it quotes them."""
    make_tables(world)
    refuse_rows(world.database, name="for_good", prefix=NEVER_TAKEN, condition="raise_exception")
    refused = [draft._replace(valid=False) for draft in logins(source, source.randrange(1, 8), prefix=NEVER_TAKEN)]
    messages = [*refused, *logins(source, 10)]
    source.shuffle(messages)
    world.send(messages)
    with world.giving(**BATCH):
        world.run()


def _recognisable(body: str, source: random.Random) -> Draft:
    """With personal data that is found where it leaks. Its user_id is nobody's: no row may have it."""
    body = body.replace("199.172.111.135", "203.0.113.7").replace("593-47-5928", "in-clear-7")
    return Draft(body, str(uuid.UUID(int=source.getrandbits(128), version=4)), valid=False)


BAD_MESSAGES = (
    Fault("poison", poison, FEW),
    Fault("rows refused by a trigger", rows_refused, FEW),
)
