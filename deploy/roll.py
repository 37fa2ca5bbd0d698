#!/usr/bin/env python3
"""Rolls the containers of docker-compose.yml to another image, and back where that fails.

    python3 deploy/roll.py IMAGE

The new image's `prepare` comes first, as it changes the tables for both images. Then daemon, web server and as many
workers as there are get the new image: a run ends within 10 s, or releases its messages. Then `doctor` and `check` in a
new worker may find nothing wrong that they did not find before. An interrupted roll is run again.

docker-compose.yml starts login-pipeline:local; a roll moves this tag. login-pipeline:previous is what it was before.
It needs Docker with Compose 2, and no package of Python's. Exit codes: 0 the containers run IMAGE; 1 they do not; 2
nothing was changed.
"""

import re
import signal
import subprocess
import sys
from collections.abc import Set
from pathlib import Path
from types import FrameType
from typing import NoReturn

CHECKOUT = Path(__file__).resolve().parents[1]
CURRENT, PREVIOUS = "login-pipeline:local", "login-pipeline:previous"
SERVICES = ("dagster-daemon", "dagster-webserver", "worker")
START_SECONDS = 300
# A line of `doctor` or `check`: the verdict, two spaces, the name of what was looked at, and what is wrong with it.
FAULT = re.compile(r"^(?:WRONG|FAILED)  (\S+(?: \S+)*)(.*)", re.MULTILINE)
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class RollError(Exception):
    """What failed: the beginning of a sentence."""


def main(arguments: list[str]) -> int:
    """The exit code."""
    if len(arguments) != 1:
        return _end(2, f"usage: {sys.argv[0]} IMAGE")
    (image,) = arguments
    for number in SIGNALS:
        signal.signal(number, _interrupt)
    try:
        new, workers = _image_id(image), _workers()
        replaces = _keep_previous(new)
    except RollError as error:
        return _end(2, f"Nothing was changed: {error}.")
    try:
        _roll(new, workers)
    except RollError as error:
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        outcome = _go_back(workers) if replaces else "it ran before, too, and was left"
        return _end(1, f"The roll to {image} failed: {error}; {outcome}.")
    return _end(0, f"The containers run {image}.")


def _roll(new: str, workers: int) -> None:
    known, restarts = _new_faults(frozenset()), _restarts()
    _docker("tag", new, CURRENT, failure="the image could not be tagged")
    prepare = ("compose", "run", "--rm", "--no-deps", "--no-TTY", "prepare", "login-pipeline", "prepare")
    _docker(*prepare, failure="its `login-pipeline prepare` did not succeed")
    _start(workers)
    found = _new_faults(known)
    if any(count and restarts.get(container) != count for container, count in _restarts().items()):
        raise RollError("a process of it ended and was started again, as `docker compose logs` says")
    if found:
        names = ", ".join(sorted({name for name, _ in found}))
        raise RollError(f"its worker finds wrong what was right before ({names})")


def _go_back(workers: int) -> str:
    """What became of it."""
    try:
        _docker("tag", PREVIOUS, CURRENT, failure=f"there is no {PREVIOUS} to go back to")
        _start(workers)
    except RollError as error:
        return f"and going back failed: {error}"
    return f"{PREVIOUS} runs again"


def _image_id(image: str) -> str:
    inspect = ("image", "inspect", "--format", "{{.Id}}", image)
    try:
        return _docker(*inspect, failure="it is not here").strip()
    except RollError:
        _docker("pull", "--quiet", image, failure=f"there is no image {image}, neither here nor where it names")
        return _docker(*inspect, failure=f"{image} is gone").strip()


def _workers() -> int:
    """How many there are, and one where there is none."""
    if not _containers():
        raise RollError("none of the processes runs that are rolled; start them with `docker compose up --detach`")
    return len(_containers("worker")) or 1


def _keep_previous(new: str) -> bool:
    """Tags what runs; False where nothing else than the new image does.

    Where an interrupted roll left two, CURRENT is the one to which it had come.
    """
    inspect = ("inspect", "--format", "{{.Image}}")
    images = {*_docker(*inspect, *_containers(), failure="a container is gone").split()} - {new}
    if len(images) > 1:
        images.discard(_image_id(CURRENT))
    for image in images:
        _docker("tag", image, PREVIOUS, failure="the running image could not be tagged")
    return bool(images)


def _containers(*services: str) -> list[str]:
    return _docker(
        "compose", "ps", "--quiet", *(services or SERVICES), failure="docker-compose.yml cannot be used here"
    ).split()


def _start(workers: int) -> None:
    """Every process by the image that CURRENT names; those that run it already are left alone."""
    up = ("up", "--detach", "--no-deps", "--no-build", "--wait", "--wait-timeout", str(START_SECONDS))
    failure = f"not all processes started within {START_SECONDS} s, as `docker compose logs` says"
    _docker("compose", *up, "--scale", f"worker={workers}", *SERVICES, failure=failure)


def _new_faults(known: Set[tuple[str, str]]) -> set[tuple[str, str]]:
    """What `doctor` and `check` in a worker find wrong, with what they say but its numbers; without what is known."""
    faults = set()
    for command in ("doctor", "check"):
        done = _run("compose", "exec", "--no-TTY", "worker", "login-pipeline", command)
        sys.stdout.write(done.stdout)
        if done.returncode:
            found = {(f"{command}: {name}", re.sub(r"[\d,]+", "", says)) for name, says in FAULT.findall(done.stdout)}
            faults |= found - known if found else {(f"{command}: exit code {done.returncode}", "")}
    return faults


def _restarts() -> dict[str, int]:
    """How often Docker started each container again because its process had ended."""
    of_each = _docker("inspect", "--format", "{{.Id}} {{.RestartCount}}", *_containers(), failure="a container is gone")
    return {container: int(count) for container, count in (line.split() for line in of_each.splitlines())}


def _docker(*arguments: str, failure: str) -> str:
    """Its output.

    Raises:
        RollError: it failed; what it says of that is on stderr.
    """
    done = _run(*arguments)
    if done.returncode:
        raise RollError(failure)
    return done.stdout


def _run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = ["docker", *arguments]
    return subprocess.run(command, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True, check=False)  # noqa: S603 - ours


def _interrupt(*_: int | FrameType | None) -> NoReturn:
    raise RollError("it was interrupted")


def _end(code: int, sentence: str) -> int:
    sys.stderr.write(f"{sentence}\n")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
