"""pg_auto_failover as Debian packages it: a monitor and two nodes on loopback, which replicate synchronously.

Source: pg_auto_failover documentation, "Configuring pg_auto_failover" and "Failover State Machine".
"""

import os
import pwd
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import psutil
import psycopg2

from login_pipeline.local import supervisor
from login_pipeline.local.ports import HOST, free_port, wait_until
from login_pipeline_tests.conftest import Database

TOOL = "/usr/bin/pg_autoctl"
BINARIES = Path("/usr/lib/postgresql/15/bin")
# The tool drops what it was given for another account.
ACCOUNT = "postgres"
# Milliseconds. The defaults are for networks: with them a promotion takes a minute.
TIMES = {
    "health_check_period": 500,
    "health_check_timeout": 1000,
    "health_check_retry_delay": 250,
    "health_check_max_retries": 1,
    "node_considered_unhealthy_timeout": 3000,
    "primary_demote_timeout": 3000,
    "startup_grace_period": 1000,
}
SETUP_SECONDS = 120.0
STATES = "SELECT nodeport, reportedstate::text, goalstate::text FROM pgautofailover.node"


class Node:
    """One server under its keeper, in a session of its own. `process` is the keeper's supervisor."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.port = free_port()
        self._folder = folder
        self._environment = environment

    def create(self, *arguments: str) -> Self:
        """Makes its data folder, and starts it."""
        uid = pwd.getpwnam(ACCOUNT)
        given = ["--pgdata", str(self._folder), "--pgport", str(self.port), "--hostname", HOST]
        made = subprocess.run(
            [TOOL, "create", *arguments, *given, "--auth", "trust", "--no-ssl"],
            env=self._environment,
            cwd="/",
            user=uid.pw_uid,
            group=uid.pw_gid,
            extra_groups=[],
            capture_output=True,
            text=True,
            check=False,
        )
        if made.returncode:
            raise RuntimeError(f"pg_autoctl create {arguments[0]}: {made.stderr[-2000:]}")
        self.start()
        return self

    def start(self) -> None:
        """Starts it, also after it was killed."""
        account = pwd.getpwnam(ACCOUNT)
        self.process = supervisor.start(
            [TOOL, "run", "--pgdata", str(self._folder)],
            log=self._folder.with_suffix(".log"),
            stop_signal=signal.SIGINT,
            env=self._environment,
            account=(account.pw_uid, account.pw_gid),
        )

    def stop(self) -> None:
        """Shuts it down."""
        supervisor.stop(self.process)

    @property
    def keeper(self) -> int:
        """The process whose death, with all its children, is that of the node."""
        return psutil.Process(self.process.pid).children()[0].pid

    def url(self, user: str, database: str) -> str:
        """How to connect to this node alone."""
        return f"postgresql://{user}@{HOST}:{self.port}/{database}?sslmode=disable"


class Formation:
    """A monitor and two nodes. `url` names both, and finds the one that takes writes."""

    def __init__(self, folder: Path) -> None:
        account = pwd.getpwnam(ACCOUNT)
        folder.mkdir()
        os.chown(folder, account.pw_uid, account.pw_gid)
        homes = {name: str(folder) for name in ("HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_RUNTIME_DIR")}
        environment = {"PATH": f"{BINARIES}:{os.defpath}", "LC_ALL": "C.UTF-8", "TZ": "UTC", **homes}
        self.monitor = Node(folder / "monitor", environment)
        self.nodes = [Node(folder / name, environment) for name in ("node1", "node2")]
        hosts = ",".join(f"{HOST}:{node.port}" for node in self.nodes)
        self.url = (
            f"postgresql://logins@{hosts}/logins?target_session_attrs=read-write&sslmode=disable&connect_timeout=2"
        )
        self._states = Database(self.monitor.url(ACCOUNT, "pg_auto_failover"))

    def create(self) -> None:
        """Returns when both nodes have the data, and a COMMIT waits for both."""
        self.monitor.create("monitor")
        assert wait_until(lambda: self._reports() is not None, seconds=SETUP_SECONDS)
        for name, value in TIMES.items():
            connection = psycopg2.connect(self._states.url)
            connection.autocommit = True
            connection.cursor().execute(f"ALTER SYSTEM SET pgautofailover.{name} = {value}")
            connection.cursor().execute("SELECT pg_reload_conf()")
            connection.close()
        monitor = self.monitor.url("autoctl_node", "pg_auto_failover")
        for number, node in enumerate(self.nodes, start=1):
            whose = ["--username", "logins", "--dbname", "logins", "--listen", HOST, "--monitor", monitor]
            node.create("postgres", "--name", f"node{number}", *whose)
        self.wait_until_whole()

    def stop(self) -> None:
        """Shuts all of it down."""
        for node in (*self.nodes, self.monitor):
            if hasattr(node, "process"):
                node.stop()

    def primary(self) -> Node:
        """The node that takes writes."""
        ((port,),) = Database(self.url).query("SELECT inet_server_port()")
        return next(node for node in self.nodes if node.port == port)

    def takes_writes(self) -> bool:
        """Whether either node does."""
        try:
            return Database(self.url).query("SELECT pg_is_in_recovery()") == [(False,)]
        except psycopg2.Error:
            return False

    def wait_until_whole(self) -> None:
        """Returns when one node is the primary, the other one follows, and a COMMIT waits for it.

        Raises:
            AssertionError: that takes too long.
        """
        assert wait_until(self._is_whole, seconds=SETUP_SECONDS), self._reports()

    def _is_whole(self) -> bool:
        if sorted(state for _, *both in self._reports() or () for state in both) != ["primary"] * 2 + ["secondary"] * 2:
            return False
        if not self.takes_writes():
            return False
        return Database(self.url).query("SHOW synchronous_standby_names") != [("",)]

    def _reports(self) -> list[tuple[int, str, str]] | None:
        try:
            return [(int(port), str(is_), str(goal)) for port, is_, goal in self._states.query(STATES)]
        except psycopg2.Error:
            return None


@contextmanager
def formation(folder: Path) -> Iterator[Formation]:
    """One that works, until the block is left.

    Raises:
        SystemExit: the tool is not installed.
    """
    if not Path(TOOL).exists() or not BINARIES.is_dir() or os.geteuid() != 0:
        raise SystemExit(
            "This needs root, and Debian's packages: apt-get install pg-auto-failover-cli postgresql-15-auto-failover"
        )
    it = Formation(folder)
    try:
        it.create()
        yield it
    finally:
        it.stop()
