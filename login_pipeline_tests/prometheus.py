"""A Prometheus server of a test, with the rules of deploy/prometheus."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest
import yaml

from login_pipeline.local.ports import HOST, free_port, wait_until
from login_pipeline_tests import ROOT

FOLDER = ROOT / "deploy" / "prometheus"
RULES = FOLDER / "alerts.yml"
ALERTS: dict[str, dict[str, Any]] = {
    rule["alert"]: rule
    for group in yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
}


def program(name: str) -> str:
    """Where `prometheus` or `promtool` is; the test is skipped where it is not installed."""
    if found := shutil.which(name):
        return found
    pytest.skip(f"It needs {name}: apt-get install prometheus")


class Prometheus:
    """One that scrapes a port every few seconds and evaluates the rules every second; its files are in `folder`."""

    def __init__(self, folder: Path, *, scrapes: int, rules: str) -> None:
        self._port = free_port()
        folder.mkdir()
        configuration = yaml.safe_load((FOLDER / "prometheus.yml").read_text(encoding="utf-8"))
        configuration["global"] = {"scrape_interval": "5s", "scrape_timeout": "5s", "evaluation_interval": "1s"}
        configuration["scrape_configs"][0]["static_configs"] = [{"targets": [f"{HOST}:{scrapes}"]}]
        (folder / "prometheus.yml").write_text(yaml.safe_dump(configuration), encoding="utf-8")
        (folder / RULES.name).write_text(rules, encoding="utf-8")
        with (folder / "log").open("w") as log:
            self._process = subprocess.Popen(
                [
                    program("prometheus"),
                    f"--config.file={folder}/prometheus.yml",
                    f"--storage.tsdb.path={folder}/data",
                    f"--web.listen-address={HOST}:{self._port}",
                ],
                stderr=log,
                env={"PATH": os.defpath},
            )
        started = wait_until(self._is_ready, seconds=30, still_possible=lambda: self._process.poll() is None)
        assert started, (folder / "log").read_text()

    def query(self, expression: str) -> list[dict[str, Any]]:
        return list(self._get("query?" + urlencode({"query": expression}))["result"])

    def alerts(self) -> dict[str, str]:
        """Those that fire or are about to, with their state."""
        return {each["labels"]["alertname"]: each["state"] for each in self._get("alerts")["alerts"]}

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait()

    def _get(self, path: str) -> dict[str, Any]:
        with urlopen(f"http://{HOST}:{self._port}/api/v1/{path}", timeout=10) as response:
            return dict(json.loads(response.read())["data"])

    def _is_ready(self) -> bool:
        try:
            self.query("up")
        except OSError:
            return False
        return True
