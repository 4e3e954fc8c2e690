"""The shipped board and alert rules ask for figures that there are, in words that Prometheus understands."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from mesh.metrics import Instrument
from mesh.scrape import NUMBER
from tests.dashboards import BOARD, DEPLOY, RULES, expressions, panels, plain, rules, selectors
from tools.metrics_reference import load

OF_PYTHON = {"up", "process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds", "process_max_fds"}
FROM_PROMETHEUS = {"host", "job", "instance", "le"}


@pytest.fixture(scope="module")
def declared() -> dict[str, Instrument]:
    """Every instrument by the names of its series."""
    found = {}
    for name, one in load().items():
        for ending in ("_bucket", "_sum", "_count") if one.kind == "histogram" else ("",):
            found[name + ending] = one
    return found


def test_every_figure_of_board_and_rules_is_declared_with_its_labels(declared: dict[str, Instrument]) -> None:
    for title, expression in expressions():
        found = list(selectors(expression))
        assert found, title
        for name, labels in found:
            if name in OF_PYTHON:
                continue
            assert name in declared, f"{title}: there is no {name}"
            assert labels <= {*declared[name].labels, *FROM_PROMETHEUS}, f"{title}: {name} has no such labels: {labels}"


def test_what_grows_is_only_shown_as_a_rate(declared: dict[str, Instrument]) -> None:
    for title, expression in expressions():
        for name, _ in selectors(expression):
            if name in declared and declared[name].kind == "counter":
                assert re.search(rf"(rate|increase)\({name}", expression), f"{title}: {name}"


def test_labels_in_legends_and_texts_are_there_to_be_shown(declared: dict[str, Instrument]) -> None:
    texts = [(panel["title"], target["legendFormat"], target["expr"]) for panel in panels()
             for target in panel.get("targets", ())]
    for title, legend, expression in texts:
        by = re.search(r"by \(([^)]*)\)", expression)
        kept = set(re.findall(r"\w+", by.group(1))) if by else _carried(expression, declared)
        assert set(re.findall(r"\{\{(\w+)\}\}", legend)) <= kept, title
    for rule in rules():
        by = re.search(r"by \(([^)]*)\)", rule["expr"])
        kept = set(re.findall(r"\w+", by.group(1))) if by else _carried(rule["expr"], declared)
        assert set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"])) <= kept, rule["alert"]


def _carried(expression: str, declared: dict[str, Instrument]) -> set[str]:
    labels = {label for name, _ in selectors(expression) if name in declared for label in declared[name].labels}
    return labels | FROM_PROMETHEUS | ({NUMBER} if "service" in labels else set())


def test_promtool_takes_the_configuration_and_the_rules() -> None:
    for what, file in (("config", DEPLOY / "prometheus" / "prometheus.yml"), ("rules", RULES)):
        done = subprocess.run(["promtool", "check", what, str(file)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_takes_every_query_of_the_board(tmp_path: Path) -> None:
    file = tmp_path / "board.rules.yml"
    queries = [plain(target["expr"]) for panel in panels() for target in panel.get("targets", ())]
    assert len(queries) > 30
    recorded = [{"record": f"board:{number}", "expr": query} for number, query in enumerate(queries)]
    file.write_text(yaml.safe_dump({"groups": [{"name": "board", "rules": recorded}]}))
    done = subprocess.run(["promtool", "check", "rules", str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_alerts_fire_when_they_should_and_say_of_whom(tmp_path: Path) -> None:
    on_pc2 = {"host": "pc2"}
    cases = [
        _case("MeshProcessDown", {"up{job='mesh',host='pc2'}": "0x20"}, {"job": "mesh", **on_pc2},
              "pc2 does not show its figures: it is down, or its metrics_port is closed"),
        _case("MeshProcessDown", {"up{job='mesh',host='pc2'}": "1x20"}),
        _case("MeshAgentQuarantined", {"mesh_agent_state{host='pc2',service='kb',state='quarantined'}": "1x20"},
              {"service": "kb", "state": "quarantined", **on_pc2}, "kb on pc2 has used up its restarts (mesh errors)"),
        _case("MeshLoopStandsStill", {"mesh_loop_still_seconds{host='pc2'}": "0 0 4x20"}, on_pc2,
              "the event loop of pc2 stands still for 4 s (mesh errors names the line)"),
        _case("MeshEventsDropped", {"mesh_events_dropped_total{host='pc2'}": "0 0 40x20"}, on_pc2,
              "40 events were dropped on pc2: too many for its peers"),
        _case("MeshCallsFail", {_calls("ok"): "0+1x80", _calls("remote_failure"): "0+1x80"},
              {"service": "kb", **on_pc2}, "50% of the calls to kb on pc2 fail", at="15m"),
        _case("MeshCallsFail", {_calls("ok"): "0+100x80", _calls("remote_failure"): "0+1x80"}, at="15m"),
        _case("MeshCallsFail", {_calls("ok"): "0+1x80", _calls("invalid_argument"): "0+1x80"}, at="15m"),
    ]
    file = tmp_path / "tests.yml"
    file.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "evaluation_interval": "15s", "tests": cases}))
    done = subprocess.run(["promtool", "test", "rules", str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def _case(alert: str, series: dict[str, str], labels: dict[str, str] | None = None, text: str = "", *, at: str = "2m"
          ) -> dict[str, object]:
    """Return a case of `promtool test rules`: the alert fires once with labels and text, or not at all."""
    [severity] = [rule["labels"] for rule in rules() if rule["alert"] == alert]
    fired = [] if labels is None else [{"exp_labels": {**labels, **severity}, "exp_annotations": {"summary": text}}]
    return {"interval": "15s", "input_series": [{"series": name, "values": values} for name, values in series.items()],
            "alert_rule_test": [{"eval_time": at, "alertname": alert, "exp_alerts": fired}]}


def _calls(code: str) -> str:
    return f"mesh_calls_total{{host='pc2',service='kb',operation='find',code='{code}'}}"


def test_the_board_can_be_imported() -> None:
    board = json.loads(BOARD.read_text())
    assert board["uid"] and board["title"] and board["schemaVersion"] >= 36
    assert {one["name"] for one in board["templating"]["list"]} == {"datasource", "host", "service"}
    ids = [panel["id"] for panel in panels()]
    assert len(ids) == len(set(ids))
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24 and not cells & taken, panel["title"]
        taken |= cells
        if panel["type"] != "row":
            assert panel["datasource"]["uid"] == "${datasource}" and panel["targets"]


def test_the_sample_scrapes_what_the_sample_of_hosts_says() -> None:
    config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    scraped = {entry["labels"]["host"]: entry["targets"][0] for job in config["scrape_configs"]
               for entry in job["static_configs"]}
    hosts = yaml.safe_load((DEPLOY.parent / "config" / "hosts.yaml").read_text())
    wanted = {name: f"{host['address']}:{host['metrics_port']}" for name, host in hosts["hosts"].items()}
    registry = hosts["registry"]
    wanted["registry"] = f"{hosts['hosts'][registry['host']]['address']}:{registry.get('metrics_port', 7402)}"
    assert scraped == wanted
