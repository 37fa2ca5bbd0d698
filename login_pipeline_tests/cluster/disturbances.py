"""What is done to the containers, each in the middle of a drain."""

import time
from collections.abc import Callable

from login_pipeline_tests.cluster.deployment import PROJECT, Deployment

# For which a part is away.
AWAY_SECONDS = 20.0
# After which a lost run has failed and its place is free.
NOTICED_SECONDS = 60.0

TERMINATE = "mutation($id: String!) { terminateRun(runId: $id) { __typename } }"

# What is said of a roll to an image of which that command fails.
ROLLED_BACK = {
    "prepare": "its `login-pipeline prepare` did not succeed; login-pipeline:previous runs again.",
    "worker": "as `docker compose logs` says; login-pipeline:previous runs again.",
    "doctor": "finds wrong what was right before (doctor: masking); login-pipeline:previous runs again.",
    "check": "finds wrong what was right before (check: exit code 1); login-pipeline:previous runs again.",
}

# Commands of docs/operations.md, by what it puts before them.
RUNBOOK = {
    "exec -T worker": ("login-pipeline check", "login-pipeline drain", "login-pipeline backup"),
    "exec -T dagster-daemon": (
        "dagster sensor stop queue_depth_sensor -w workspace.yaml",
        "dagster sensor start queue_depth_sensor -w workspace.yaml",
        "dagster schedule stop inbox_pruning_schedule -w workspace.yaml",
        "dagster schedule start inbox_pruning_schedule -w workspace.yaml",
    ),
    "run --rm -T maintenance": (
        "login-pipeline redrive --dry-run",
        "login-pipeline restore --dry-run",
        "login-pipeline restore",
        "login-pipeline keys status --rows",
        "login-pipeline expire",
        "login-pipeline prune",
    ),
}

Disturbance = Callable[[Deployment], None]


def worker_killed(deployment: Deployment) -> None:
    """`kill -9` of a worker's container with a run; it is started again once the run was failed."""
    _lose_a_run(
        deployment,
        lose=lambda container, _: deployment.docker("kill", "--signal", "KILL", container),
        restore=lambda container: deployment.docker("start", container),
    )


def worker_cut_off(deployment: Deployment) -> None:
    """A worker with a run loses its network, and has it back after its run was failed."""
    network = f"{PROJECT}_default"
    _lose_a_run(
        deployment,
        lose=lambda container, _: deployment.docker("network", "disconnect", network, container),
        restore=lambda container: deployment.docker("network", "connect", network, container),
    )


def redis_restarted(deployment: Deployment) -> None:
    deployment.docker("restart", deployment.container("redis"))


def redis_killed(deployment: Deployment) -> None:
    """And away for a while."""
    container = deployment.container("redis")
    deployment.docker("kill", "--signal", "KILL", container)
    time.sleep(AWAY_SECONDS)
    deployment.docker("start", container)


def redis_loses_its_data(deployment: Deployment) -> None:
    """It is killed, and starts again with an empty disk."""
    container = deployment.container("redis")
    deployment.docker("exec", container, "sh", "-c", "rm -r /data/*")
    deployment.docker("kill", "--signal", "KILL", container)
    deployment.docker("start", container)


def daemon_restarted(deployment: Deployment) -> None:
    deployment.docker("restart", deployment.container("dagster-daemon"))


def postgres_restarted(deployment: Deployment) -> None:
    deployment.docker("restart", deployment.container("postgres"))


def localstack_away(deployment: Deployment) -> None:
    """Its processes stand still: it keeps its queues in memory, and a restart would lose the messages themselves."""
    container = deployment.container("localstack")
    deployment.docker("pause", container)
    time.sleep(AWAY_SECONDS)
    deployment.docker("unpause", container)


def workers_scaled(deployment: Deployment) -> None:
    """1 -> 4 -> 1, and one of them is stopped every 10 s."""
    before = len(deployment.workers())
    for workers in (1, 4):
        deployment.scale(workers)
    for container in deployment.workers()[1:]:
        time.sleep(10)
        deployment.docker("stop", container)
    deployment.scale(before)


def run_terminated(deployment: Deployment) -> None:
    """As the UI does it."""
    _lose_a_run(deployment, lose=lambda _, run_id: deployment.graphql(TERMINATE, id=run_id), status="CANCELED")


def operated(deployment: Deployment) -> None:
    """Each command of the runbook succeeds."""
    for where, commands in RUNBOOK.items():
        for command in commands:
            try:
                deployment.compose(*where.split(), *command.split())
            except RuntimeError as error:
                raise AssertionError(error) from None


def rolled(deployment: Deployment) -> None:
    """By deploy/roll.py, to another image, to the same one again, and to the one before."""
    before = deployment.images()
    another = _image(deployment, failing="nothing")
    for image in (another, another, before[0]):
        code, says = deployment.roll(image)
        assert code == 0, says
        assert deployment.images() == [_id(deployment, image)] * len(before), f"{image} is not what all processes run"


def rolled_back(deployment: Deployment) -> None:
    """By deploy/roll.py, from images of which one step fails each."""
    before = deployment.images()
    for failing in ("prepare", "worker", "doctor", "check"):
        code, says = deployment.roll(_image(deployment, failing=failing))
        assert code == 1, f"{failing} fails, and the roll ended with {code}: {says}"
        assert ROLLED_BACK[failing] in says, says
        assert deployment.images() == before, f"{failing} fails, and not all processes are back"


def _image(deployment: Deployment, *, failing: str) -> str:
    """Builds the image as it runs, but one command of which fails."""
    image, here = f"login-pipeline:without-{failing}", "login_pipeline_tests/cluster"
    build = ("build", "--quiet", "--file", f"{here}/failing.Dockerfile", "--build-arg", f"FAILING={failing}")
    deployment.docker(*build, "--tag", image, here)
    return image


def _id(deployment: Deployment, image: str) -> str:
    return deployment.docker("image", "inspect", "--format", "{{.Id}}", image).strip()


def _lose_a_run(
    deployment: Deployment,
    *,
    lose: Callable[[str, str], object],
    restore: Callable[[str], object] = lambda _: None,
    status: str = "FAILURE",
) -> None:
    """Until one ends with that status, and in time: a run may succeed just before its container is lost."""
    ended = "SUCCESS"
    while ended == "SUCCESS":
        container, run_id = deployment.busy_worker()
        lose(container, run_id)
        ended = deployment.end_of(run_id, seconds=NOTICED_SECONDS)
        restore(container)
    assert ended == status, ended


DISTURBANCES: dict[str, Disturbance] = {
    "a worker's container is killed (`kill -9`)": worker_killed,
    "a worker is cut off its network until its run was failed": worker_cut_off,
    "Redis is restarted": redis_restarted,
    "Redis is killed, and away for 20 s": redis_killed,
    "Redis loses its data": redis_loses_its_data,
    "the daemon is restarted": daemon_restarted,
    "PostgreSQL is restarted": postgres_restarted,
    "LocalStack is paused for 20 s": localstack_away,
    "workers 1 -> 4 -> 1, one stopped each 10 s": workers_scaled,
    "a run is terminated in the UI": run_terminated,
    "an operator runs the commands of the runbook": operated,
    "all processes are rolled to another image, and back": rolled,
    "all processes are rolled to four images that do not work": rolled_back,
}
