"""A real Prometheus that a test starts in a folder of its own, with the configuration that is shipped."""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.dashboards import DEPLOY, RULES
from tests.eventually import wait_until
from tests.project import free_ports

START_LIMIT = 30.0


class PrometheusServer:
    """Scrapes `targets` (port on loopback by the host's name) each second, by the shipped configuration and rules."""

    def __init__(self, folder: Path, targets: Mapping[str, int]) -> None:
        self.folder = folder
        self.port = free_ports(1)[0]
        self._process: subprocess.Popen[bytes] | None = None
        config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
        config["global"] = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
        for entry in config["scrape_configs"][0]["static_configs"]:
            entry["targets"] = [f"127.0.0.1:{targets[entry['labels']['host']]}"]
        folder.mkdir(parents=True)
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        shutil.copy(RULES, folder)

    def start(self) -> None:
        """Start it and return when it is ready."""
        command = ["prometheus", f"--config.file={self.folder}/prometheus.yml",
                   f"--storage.tsdb.path={self.folder}/data", f"--web.listen-address=127.0.0.1:{self.port}"]
        with (self.folder / "prometheus.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        wait_until(self._ready, START_LIMIT)

    def close(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(20)

    def _ready(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise AssertionError((self.folder / "prometheus.log").read_text())
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/-/ready", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def ask(self, path: str, **parameters: str) -> Any:
        """Return the data that the HTTP API answers with; raises `HTTPError` for a query it does not take."""
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=30) as answer:
            told = json.load(answer)
        assert told["status"] == "success", told
        return told["data"]

    def query(self, expression: str, by: str = "host") -> dict[str, float]:
        """Return the value of each series that an expression gives now, under one of its labels."""
        found = self.ask("query", query=expression)["result"]
        return {one["metric"].get(by, ""): float(one["value"][1]) for one in found}
