"""A Redis server of a test or a benchmark."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import redis

from login_pipeline.local.ports import HOST, free_port, wait_until


class RedisServer:
    """One that keeps nothing on disk, and can be killed and started again."""

    def __init__(self) -> None:
        self._port = free_port()
        self.url = f"redis://{HOST}:{self._port}/0"
        self.client = redis.Redis.from_url(self.url)
        self.start()

    def start(self) -> None:
        program = shutil.which("redis-server", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
        assert program, "these tests need a redis-server on the PATH: apt-get install redis-server"
        options = ["--port", str(self._port), "--bind", HOST, "--save", ""]
        self._process = subprocess.Popen([program, *options], stdout=subprocess.DEVNULL)
        assert wait_until(self._responds, seconds=10, still_possible=lambda: self._process.poll() is None)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        self.client.close()
        self.kill()

    def _responds(self) -> bool:
        try:
            return bool(self.client.ping())
        except redis.ConnectionError:
            return False
