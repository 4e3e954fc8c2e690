"""Whatever is wrong is listed at once, each with its file, its line and the way out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from mesh.config import CODES, Finding, findings, load
from mesh.errors import ConfigError

HOSTS = """\
mesh: home
registry: {host: pc}
hosts:
  pc: {address: 127.0.0.1}
  tv: {address: 127.0.0.1, port: 1, events_port: 2, metrics_port: 3}
environments:
  development:
  production:
"""
CLOCK = "class: agents/clock.py:Clock\nhosts: [pc]\n"


class Project:
    """A project in a folder of the test's own: right, until a test puts something wrong into it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.write({"config/hosts.yaml": HOSTS, "config/agents/clock.yaml": CLOCK, "agents/clock.py": ""})

    def write(self, files: Mapping[str, str]) -> None:
        for name, text in files.items():
            (self.root / name).parent.mkdir(parents=True, exist_ok=True)
            (self.root / name).write_text(text, encoding="utf-8")

    def hosts(self, old: str, new: str) -> None:
        assert old in HOSTS
        self.write({"config/hosts.yaml": HOSTS.replace(old, new)})

    def agent(self, service: str, text: str) -> None:
        self.write({f"config/agents/{service}.yaml": text})

    def findings(self, environment: str | None = None, **environ: str) -> list[Finding]:
        found = findings(self.root, environment=environment, environ=environ)
        assert {finding.code for finding in found} <= CODES.keys()
        return found

    def only(self, environment: str | None = None, **environ: str) -> Finding:
        [finding] = self.findings(environment, **environ)
        return finding


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def test_a_right_project_has_none(project: Project) -> None:
    assert project.findings() == []


def test_loading_lists_every_error_as_file_line_message_and_hint(project: Project) -> None:
    project.hosts("mesh: home", "mesch: home")
    project.agent("clock", "class: agents/clock.py:Clock\nhosts: [pcc]\nlimits:\n  inbox: many\n")
    project.agent("chime", "class: agents/clok.py:Chime\nhosts: [pc]\ndepends_on: [clok]\nrequired: 1\n")
    with pytest.raises(ConfigError) as raised:
        load(project.root, environ={"MESH_REGISTRY__PROT": "1"})
    assert str(raised.value).splitlines() == [
        "the configuration has 8 errors:",
        "  env MESH_REGISTRY__PROT: sets nothing known: there is no `prot` in registry"
        " (did you mean MESH_REGISTRY__PORT?)",
        "  config/agents/chime.yaml:1: there is no file agents/clok.py (did you mean agents/clock.py?)",
        "  config/agents/chime.yaml:3: depends on `clok`, which no file configures (did you mean `clock`?)",
        "  config/agents/chime.yaml:4: `required` takes true or false, found 1"
        " (Makes `mesh status` fail while it is neither ready nor degraded.)",
        "  config/agents/clock.yaml:2: unknown host `pcc` (did you mean `pc`?)",
        "  config/agents/clock.yaml:4: `limits.inbox` takes a whole number, found 'many'"
        " (Calls that may wait; one more is answered `overloaded`.)",
        "  config/hosts.yaml:1: `mesh` is missing (Name of the mesh; hosts of another are refused.)",
        "  config/hosts.yaml:1: unknown key `mesch` (did you mean `mesh`?)",
    ]


def test_warnings_and_notes_do_not_hinder_loading(project: Project) -> None:
    project.agent("clock", f"{CLOCK}depends_on: [{{service: sun, soft: true}}]")
    project.hosts("mesh: home", "mesh: home\nsecurity: none")
    assert [finding.severity for finding in project.findings()] == ["warning", "note"]
    assert load(project.root, environ={}).security == "none"


class TestText:
    def test_broken_yaml_names_its_line_and_the_rest_is_still_checked(self, project: Project) -> None:
        project.agent("clock", "class: agents/clock.py:Clock\nhosts: [pc\nrequired: true\n")
        project.agent("chime", f"{CLOCK}reqired: true\ndepends_on: [clock]")
        broken, typo = sorted(project.findings(), key=lambda finding: finding.code)
        assert (broken.code, broken.file) == ("syntax", "config/agents/clock.yaml")
        assert broken.line in (2, 3)
        assert (typo.code, typo.line) == ("unknown_key", 3)

    def test_a_broken_hosts_file_does_not_make_every_host_unknown(self, project: Project) -> None:
        project.write({"config/hosts.yaml": "mesh: [home"})
        assert project.only().file == "config/hosts.yaml"

    @pytest.mark.parametrize(
        ("text", "line", "words"),
        [
            (f"{CLOCK}hosts: [tv]", 3, "`hosts` stands twice, first in line 2"),
            (f"{CLOCK}settings:\n  a: {{b: 1,\n   b: 2}}", 5, "`b` stands twice, first in line 4"),
        ],
    )
    def test_a_key_that_stands_twice(self, project: Project, text: str, line: int, words: str) -> None:
        project.agent("clock", text)
        finding = project.only()
        assert (finding.code, finding.line, finding.message) == ("duplicate_key", line, words)

    @pytest.mark.parametrize(
        ("text", "line", "words"),
        [
            (f"{CLOCK}settings: {{when: 2026-13-45}}", 3, "'2026-13-45' is not a valid timestamp"),
            (f"{CLOCK}settings:\n  a: !!python/object:os.system x", 4, "tag:yaml.org,2002:python/object:os.system"),
            (f"{CLOCK}settings:\n  a: !!set {{x}}", 4, "the tag tag:yaml.org,2002:set is not allowed"),
            (f"{CLOCK}settings:\n  on: 1", 4, "does not read the key `on` as a text"),
            (f"{CLOCK}settings:\n  a: &x {{b: 1}}\n  c: {{<<: *x}}", 5, "merge keys"),
            (f"{CLOCK}settings:\n  a: *nothing", 4, "refers to nothing above it"),
            (f"{CLOCK}settings:\n  a: &x [*x]", 4, "refers to itself"),
            (f"{CLOCK}settings:\n  ? [a]\n  : 1", 4, "a key must be a text"),
            (f"{CLOCK}---\nmore: 1", 3, "a second document begins here"),
            (f"{CLOCK}settings: {{a: \x07}}", 3, "a character that YAML does not allow"),
            (f"{CLOCK}settings:\n  a: {'[' * 40}{']' * 40}", 4, "nested deeper than 32 levels"),
            (f"{CLOCK}settings:\n  a: {'[' * 200_000}", 4, "nested deeper than 32 levels"),
            (f"{CLOCK}settings:\n  a:\n  {'- ' * 100_000}", 5, "nested deeper than 32 levels"),
        ],
    )
    def test_what_yaml_may_not_do_here(self, project: Project, text: str, line: int, words: str) -> None:
        project.agent("clock", text)
        finding = project.only()
        assert (finding.severity, finding.code, finding.line) == ("error", "syntax", line)
        assert words in finding.message

    def test_aliases_that_multiply_are_stopped(self, project: Project) -> None:
        lines = ["  a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
        lines += [f"  a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
        project.agent("clock", "\n".join([f"{CLOCK}settings:", *lines]))
        finding = project.only()
        assert "more than 20000 values, aliases included" in finding.message
        assert finding.line == 8

    def test_a_file_that_is_too_large(self, project: Project) -> None:
        project.agent("clock", f"{CLOCK}settings: {{a: {'x' * 300_000}}}")
        assert (project.only().code, project.only().message) == ("unreadable", "is larger than 256 KiB")

    def test_a_file_that_is_not_utf_8(self, project: Project) -> None:
        (project.root / "config/agents/clock.yaml").write_bytes(b"class: \xff")
        assert (project.only().code, project.only().message) == ("unreadable", "is not UTF-8 text (byte 7)")

    def test_a_folder_where_a_file_should_be(self, project: Project) -> None:
        (project.root / "config/agents/chime.yaml").mkdir()
        assert project.only().code == "unreadable"
        assert project.only().file == "config/agents/chime.yaml"

    @pytest.mark.parametrize(("text", "words"), [("[a, b]", "a list"), ("just words", "'just words'"), ("5", "5")])
    def test_a_file_without_keys(self, project: Project, text: str, words: str) -> None:
        project.agent("clock", text)
        assert (project.only().code, project.only().line) == ("wrong_type", 1)
        assert project.only().message == f"takes keys with values, found {words}"

    def test_an_empty_file_misses_what_it_must_say(self, project: Project) -> None:
        project.agent("clock", "# nothing yet\n")
        assert [(finding.code, finding.message) for finding in project.findings()] == [
            ("missing_key", "`class` is missing"),
            ("missing_key", "`hosts` is missing"),
        ]


class TestKeys:
    @pytest.mark.parametrize(
        ("text", "line", "message", "hint"),
        [
            (f"{CLOCK}reqired: true", 3, "unknown key `reqired`", "did you mean `required`?"),
            (f"{CLOCK}limits:\n  inbx: 5", 4, "unknown key `limits.inbx`", "did you mean `inbox`?"),
            (
                f"{CLOCK}depends_on:\n- {{service: clock, sfot: true}}",
                4,
                "unknown key `depends_on[0].sfot`",
                "did you mean `soft`?",
            ),
            (
                f"{CLOCK}environments:\n  production:\n    limts: {{}}",
                5,
                "unknown key `limts`",
                "did you mean `limits`?",
            ),
            (f"{CLOCK}limits: {{zzz: 1}}", 3, "unknown key `limits.zzz`",
         "known: inbox, concurrency, start_s, stop_s, cleanup_s, memory_mb, cpu_s, open_files, stuck_s"),
        ],
    )
    def test_an_unknown_key_comes_with_the_nearest_right_one(
        self, project: Project, text: str, line: int, message: str, hint: str
    ) -> None:
        project.agent("clock", text)
        finding = next(item for item in project.findings() if item.code == "unknown_key")
        assert (finding.file, finding.line) == ("config/agents/clock.yaml", line)
        assert (finding.message, finding.hint) == (message, hint)

    @pytest.mark.parametrize(
        ("old", "new", "line", "message"),
        [
            ("address: 127.0.0.1}", "adress: 127.0.0.1}", 4, "unknown key `hosts.pc.adress`"),
            ("{host: pc}", "{host: pc, stor: x}", 2, "unknown key `registry.stor`"),
            ("  production:", "  production: {hosts: {tv: {prot: 1}}}", 8, "unknown key `hosts.tv.prot`"),
            ("mesh: home", "mesh: home\nenviroments: {}", 2, "unknown key `enviroments`"),
        ],
    )
    def test_an_unknown_key_of_the_hosts_file(
        self, project: Project, old: str, new: str, line: int, message: str
    ) -> None:
        project.hosts(old, new)
        finding = next(item for item in project.findings() if item.code == "unknown_key")
        assert (finding.line, finding.message) == (line, message)
        assert finding.hint is not None

    @pytest.mark.parametrize(
        ("text", "line", "code", "message"),
        [
            ("class: 5\nhosts: [pc]", 1, "wrong_type", "`class` takes a text, found 5"),
            ("class: agents/clock.py:Clock\nhosts: pc", 2, "wrong_type", "`hosts` takes a list, found 'pc'"),
            ("class: agents/clock.py:Clock\nhosts:\n- pc\n- 7", 4, "wrong_type", "`hosts[1]` takes a text, found 7"),
            (f"{CLOCK}required: 'yes'", 3, "wrong_type", "`required` takes true or false, found 'yes'"),
            (f"{CLOCK}limits: 5", 3, "wrong_type", "`limits` takes keys with values, found 5"),
            (f"{CLOCK}limits: {{inbox: true}}", 3, "wrong_type", "`limits.inbox` takes a whole number, found true"),
            (f"{CLOCK}limits: {{inbox: 0}}", 3, "invalid_value", "`limits.inbox` must be more than 0, found 0"),
            (f"{CLOCK}limits: {{stop_s: .inf}}", 3, "wrong_type", "`limits.stop_s` takes a finite number, found inf"),
            (f"{CLOCK}settings: [a]", 3, "wrong_type", "`settings` takes keys with values, found a list"),
            (
                f"{CLOCK}instances: {{pc: 0}}",
                3,
                "invalid_value",
                "`instances`: takes a whole number from 1 to 64, or one for each host as {mainpc: 2, pc2: 1}, "
                "found a mapping",
            ),
            (f"{CLOCK}depends_on:\n- 5", 4, "wrong_type", "`depends_on[0]` takes keys with values, found 5"),
            (
                f"{CLOCK}depends_on: [{{service: 5}}]",
                3,
                "wrong_type",
                "`depends_on[0].service` takes a text, found 5",
            ),
            (
                f"{CLOCK}isolation: thraed",
                3,
                "invalid_value",
                "`isolation` takes `coroutine` or `thread` or `process` or `auto`, found 'thraed'",
            ),
            (
                f"{CLOCK}environments: {{production: 5}}",
                3,
                "wrong_type",
                "`environments.production` takes keys with values, found 5",
            ),
            (
                f"{CLOCK}environments:\n  production:\n    limits: {{inbox: x}}",
                5,
                "wrong_type",
                "`limits.inbox` takes a whole number, found 'x'",
            ),
            (f"{CLOCK}depends_on: [{{soft: true}}]", 3, "missing_key", "`depends_on[0].service` is missing"),
            ("hosts: [pc]", 1, "missing_key", "`class` is missing"),
            ("class: ''\nhosts: [pc]", 1, "missing_key", "`class` is missing"),
        ],
    )
    def test_a_value_that_does_not_fit(self, project: Project, text: str, line: int, code: str, message: str) -> None:
        project.agent("clock", text)
        finding = project.only()
        assert (finding.severity, finding.code, finding.file) == ("error", code, "config/agents/clock.yaml")
        assert (finding.line, finding.message) == (line, message)

    def test_a_key_that_an_environment_supplies_is_missing_only_in_the_others(self, project: Project) -> None:
        project.hosts("  pc: {address: 127.0.0.1}", "  pc: {}")
        text = (project.root / "config/hosts.yaml").read_text(encoding="utf-8")
        project.write({"config/hosts.yaml": f"{text.rstrip()} {{hosts: {{pc: {{address: 10.0.0.1}}}}}}"})
        assert load(project.root, environment="production", environ={}).hosts["pc"].address == "10.0.0.1"
        [missing] = [item for item in project.findings("development") if item.severity == "error"]
        assert (missing.severity, missing.line, missing.message) == ("error", 4, "`hosts.pc.address` is missing")
        [elsewhere] = [item for item in project.findings("production") if item.code == "missing_key"]
        assert elsewhere.severity == "warning"
        assert elsewhere.message == "environment development: `hosts.pc.address` is missing"


class TestHosts:
    def test_a_mesh_without_hosts(self, project: Project) -> None:
        project.write({"config/hosts.yaml": "mesh: home\nregistry: {host: pc}\nhosts: {}\n"})
        assert (project.only().code, project.only().line) == ("missing_key", 3)

    @pytest.mark.parametrize(
        ("old", "new", "line", "code", "message"),
        [
            ("mesh: home", "mesh: My Home", 1, "bad_name", "`My Home` cannot name a mesh"),
            ("  tv: {", "  TV: {", 5, "bad_name", "`TV` cannot name a host"),
            ("{host: pc}", "{host: pcc}", 2, "unknown_host", "`registry.host` names the unknown host `pcc`"),
            ("{address: 127.0.0.1}", "{address: tcp://a}", 4, "invalid_value", "`tcp://a` is not an address"),
            ("{address: 127.0.0.1}", "{address: 0.0.0.0}", 4, "invalid_value", "nobody can connect to `0.0.0.0`"),
            ("{address: 127.0.0.1}", "{address: '::1', key: abc}", 4, "invalid_value", "`hosts.pc.key` is no key"),
            ("{host: pc}", "{host: pc, store: mysql}", 2, "invalid_value", "`registry.store` takes `sqlite`"),
            ("port: 1,", "port: 70000,", 5, "invalid_value", "`hosts.tv.port` must be at most 65535, found 70000"),
            ("  production:", "  production: {hosts: {tvv: {}}}", 8, "unknown_host", "unknown host `tvv`"),
        ],
    )
    def test_what_a_host_may_not_be(
        self, project: Project, old: str, new: str, line: int, code: str, message: str
    ) -> None:
        project.hosts(old, new)
        finding = next(item for item in project.findings() if item.severity == "error")
        assert (finding.code, finding.file, finding.line) == (code, "config/hosts.yaml", line)
        assert finding.message.startswith(message)

    @pytest.mark.parametrize(
        ("added", "code", "message"),
        [
            ("connections: {redis: {}}", "missing_key", "`connections.redis.url` is missing"),
            ("connections: {redis: {url: 'http://a'}}", "invalid_value", "`connections.redis.url` is no address"),
            ("connections: {redis: {url: 'redis://a:x'}}", "invalid_value", "`connections.redis.url` is no address"),
            ("connections: {redis: {url: 'redis://:s3cret@a'}}", "invalid_value",
             "`connections.redis.url` holds a user or password"),
            ("state: {store: redis}", "missing_key", "`state.store` is `redis`, and no Redis is named"),
            ("connections: {http: {targets: {Bad: {url: 'https://a'}}}}", "bad_name", "`Bad` cannot name a target"),
            ("connections: {http: {targets: {a: {}}}}", "missing_key", "`connections.http.targets.a.url` is missing"),
            ("connections: {http: {targets: {a: {url: 'https://u:s3cret@a'}}}}", "invalid_value",
             "`connections.http.targets.a.url` holds a user or password"),
            ("connections: {http: {targets: {a: {url: 'https://a', check: x}}}}", "invalid_value",
             "`connections.http.targets.a.check` is no path"),
            ("connections: {http: {private: [all]}}", "invalid_value", "`all` is no network"),
            ("connections: {http: {pool: 0}}", "invalid_value", "`connections.http.pool` must be more than 0"),
        ],
    )
    def test_what_lies_outside_the_mesh_is_checked_and_no_secret_is_quoted(
        self, project: Project, added: str, code: str, message: str
    ) -> None:
        project.hosts("mesh: home", f"mesh: home\n{added}")
        finding = next(item for item in project.findings() if item.severity == "error")
        assert (finding.code, finding.file, finding.line) == (code, "config/hosts.yaml", 2)
        assert finding.message.startswith(message)
        assert "s3cret" not in f"{finding.message}{finding.hint}"

    @pytest.mark.parametrize(
        ("budget", "message"),
        [("{devices: {cpu: 5}}", "the memory of `cpu`"), ("{devices: {'cuda:0': 0}}", "`cuda:0` must have more")],
    )
    def test_a_budget_that_cannot_be(self, project: Project, budget: str, message: str) -> None:
        project.hosts("{address: 127.0.0.1}", f"{{address: 127.0.0.1, budget: {budget}}}")
        finding = next(item for item in project.findings() if item.severity == "error")
        assert finding.code == "invalid_value" and finding.message.startswith(message)

    @pytest.mark.parametrize(
        ("old", "new", "line", "port", "users"),
        [
            ("port: 1,", "port: 7410,", 5, 7410, "hosts.pc.port and hosts.tv.port"),
            ("metrics_port: 3", "metrics_port: 7400", 5, 7400, "registry.port and hosts.tv.metrics_port"),
            ("events_port: 2", "events_port: 1", 5, 1, "hosts.tv.port and hosts.tv.events_port"),
            ("address: 127.0.0.1, port: 1", "address: localhost, port: 7411", 5, 7411, "hosts.pc.events_port and"),
        ],
    )
    def test_a_port_used_twice_on_one_address(
        self, project: Project, old: str, new: str, line: int, port: int, users: str
    ) -> None:
        project.hosts(old, new)
        finding = project.only()
        assert (finding.code, finding.line) == ("duplicate_port", line)
        assert f"port {port} on" in finding.message
        assert users in finding.message

    def test_one_port_on_two_addresses_is_right(self, project: Project) -> None:
        project.hosts("{address: 127.0.0.1, port: 1", "{address: 127.0.0.2, port: 7410")
        assert project.findings() == []

    def test_port_0_is_any_free_port_and_never_used_twice(self, project: Project) -> None:
        project.hosts("port: 1, events_port: 2, metrics_port: 3", "port: 0, events_port: 0, metrics_port: 0")
        assert project.findings() == []

    def test_ports_are_compared_in_each_environment(self, project: Project) -> None:
        project.hosts("{address: 127.0.0.1, port: 1,", "{address: 10.0.0.2, port: 7410,")
        text = (project.root / "config/hosts.yaml").read_text(encoding="utf-8")
        text = text.replace("  development:", "  development: {hosts: {tv: {address: 127.0.0.1}}}")
        project.write({"config/hosts.yaml": text})
        assert [item.code for item in project.findings() if item.severity == "error"] == ["duplicate_port"]
        elsewhere = project.findings("production")
        assert [item.severity for item in elsewhere if item.code == "duplicate_port"] == ["warning"]
        assert any(item.message.startswith("environment development: port 7410") for item in elsewhere)

    def test_a_host_on_the_network_without_a_key_is_noted(self, project: Project) -> None:
        project.hosts("{address: 127.0.0.1, port: 1", "{address: 10.0.0.2, port: 1")
        finding = project.only()
        assert (finding.severity, finding.code, finding.line) == ("note", "no_peer_key", 5)
        assert "mesh keys show" in str(finding.hint)

    def test_a_host_on_the_network_with_a_key_is_not(self, project: Project) -> None:
        key = "Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID"
        project.hosts("{address: 127.0.0.1, port: 1", f"{{address: 10.0.0.2, key: '{key}', port: 1")
        assert project.findings() == []

    def test_a_mesh_of_one_machine_needs_no_keys(self, project: Project) -> None:
        project.write({"config/hosts.yaml": HOSTS.replace("127.0.0.1", "192.168.1.10")})
        assert project.findings() == []


class TestAgents:
    @pytest.mark.parametrize(
        ("service", "code"),
        [
            ("supervisor", "reserved_name"),
            ("registry", "reserved_name"),
            ("my-clock", "bad_name"),
            ("9to5", "bad_name"),
        ],
    )
    def test_a_name_that_no_service_can_have(self, project: Project, service: str, code: str) -> None:
        project.agent(service, CLOCK)
        assert (project.only().code, project.only().file) == (code, f"config/agents/{service}.yaml")

    def test_a_service_key_may_repeat_the_file_name(self, project: Project) -> None:
        project.agent("clock", f"service: clock\n{CLOCK}")
        assert project.findings() == []

    def test_a_service_key_that_says_another_name(self, project: Project) -> None:
        project.agent("clock", f"{CLOCK}service: watch")
        assert (project.only().code, project.only().line) == ("service_mismatch", 3)
        assert project.only().hint == "remove it, or rename the file to watch.yaml"

    def test_two_files_that_claim_one_service(self, project: Project) -> None:
        project.agent("watch", f"{CLOCK}service: clock")
        codes = {item.code: item for item in project.findings()}
        assert codes.keys() == {"service_mismatch", "duplicate_service"}
        assert "first by config/agents/clock.yaml" in codes["duplicate_service"].message

    def test_two_files_whose_names_differ_only_in_capitals(self, project: Project) -> None:
        project.agent("Clock", CLOCK)
        assert {item.code for item in project.findings()} == {"bad_name", "duplicate_service"}

    def test_a_file_that_would_not_be_read(self, project: Project) -> None:
        project.write(
            {"config/agents/chime.yml": CLOCK, "config/agents/old/x.yaml": CLOCK, "config/agents/.x.yaml": ""}
        )
        assert [(item.severity, item.file) for item in project.findings()] == [
            ("error", "config/agents/chime.yml"),
            ("warning", "config/agents/old"),
        ]

    def test_a_project_without_agents_is_noted(self, project: Project) -> None:
        (project.root / "config/agents/clock.yaml").unlink()
        assert (project.only().severity, project.only().code) == ("note", "no_agents")

    def test_an_unknown_host(self, project: Project) -> None:
        project.agent("clock", "class: agents/clock.py:Clock\nhosts:\n- pc\n- tvv\n")
        assert (project.only().code, project.only().line) == ("unknown_host", 4)
        assert project.only().hint == "did you mean `tv`?"

    def test_instances_on_a_host_where_the_agent_does_not_run(self, project: Project) -> None:
        project.agent("clock", "class: agents/clock.py:Clock\nhosts: [pc]\ninstances:\n  pc: 2\n  tv: 3\n")
        assert (project.only().code, project.only().line) == ("unknown_host", 5)
        assert "where `clock` does not run" in project.only().message

    def test_an_unknown_environment(self, project: Project) -> None:
        project.agent("clock", f"{CLOCK}environments:\n  prod: {{}}\n")
        assert (project.only().code, project.only().line) == ("unknown_environment", 4)

    @pytest.mark.parametrize(
        ("named", "code", "hint"),
        [
            ("agents/clok.py:Clock", "missing_class", "did you mean agents/clock.py?"),
            ("agents/tv/clock.py:Clock", "missing_class", "did you mean agents/clock.py?"),
            ("elsewhere.py:X", "missing_class", "write the path from the project's folder"),
            (f"{'a' * 5000}.py:X", "missing_class", "write the path from the project's folder"),
            ("agents/clock.py", "invalid_value", "write file and class, as agents/mainpc/clock.py:Clock"),
            ("agents.clock:Clock", "invalid_value", "write file and class, as agents/mainpc/clock.py:Clock"),
            ("agents/clock.py:1st", "invalid_value", "write file and class, as agents/mainpc/clock.py:Clock"),
        ],
    )
    def test_a_class_that_is_not_there(self, project: Project, named: str, code: str, hint: str) -> None:
        project.agent("clock", f"hosts: [pc]\nclass: {named}\n")
        assert (project.only().code, project.only().line, project.only().hint) == (code, 2, hint)


class TestDependencies:
    def test_an_unknown_hard_one_is_an_error(self, project: Project) -> None:
        project.agent("chime", f"{CLOCK}depends_on:\n- clock\n- service: clokc\n")
        finding = project.only()
        assert (finding.severity, finding.code, finding.line) == ("error", "unknown_dependency", 5)
        assert finding.hint == "did you mean `clock`?"

    def test_an_unknown_soft_one_is_a_note(self, project: Project) -> None:
        project.agent("clock", f"{CLOCK}depends_on: [{{service: sun, soft: true}}]")
        assert (project.only().severity, project.only().code) == ("note", "unknown_dependency")

    def test_a_hard_one_that_runs_nowhere_is_an_error(self, project: Project) -> None:
        project.agent("clock", "class: agents/clock.py:Clock\nhosts: []\n")
        project.agent("chime", f"{CLOCK}depends_on: [clock]")
        assert (project.only().severity, project.only().code) == ("error", "unknown_dependency")

    def test_a_cycle_is_told_with_its_path(self, project: Project) -> None:
        project.agent("clock", f"{CLOCK}depends_on: [wheel]")
        project.agent("wheel", f"{CLOCK}depends_on: [spring]")
        project.agent("spring", f"{CLOCK}depends_on:\n- clock\n")
        finding = project.only()
        assert (finding.code, finding.file, finding.line) == ("dependency_cycle", "config/agents/clock.yaml", 3)
        assert finding.message == "these agents wait for each other: clock -> wheel -> spring -> clock"

    def test_an_agent_that_waits_for_itself(self, project: Project) -> None:
        project.agent("clock", f"{CLOCK}depends_on: [clock]")
        assert project.only().message == "these agents wait for each other: clock -> clock"

    def test_a_cycle_on_two_hosts_is_told_once(self, project: Project) -> None:
        both = CLOCK.replace("[pc]", "[pc, tv]")
        project.agent("clock", f"{both}depends_on: [wheel]")
        project.agent("wheel", f"{both}depends_on: [clock]")
        assert project.only().code == "dependency_cycle"

    def test_a_soft_edge_or_one_to_another_host_closes_no_cycle(self, project: Project) -> None:
        project.agent("clock", f"{CLOCK}depends_on: [wheel]")
        project.agent("wheel", f"{CLOCK}depends_on: [{{service: clock, soft: true}}]")
        project.agent("sun", f"{CLOCK}depends_on: [moon]")
        project.agent("moon", f"{CLOCK.replace('[pc]', '[tv]')}depends_on: [sun]")
        assert project.findings() == []


class TestVariables:
    @pytest.mark.parametrize(
        ("name", "severity", "hint"),
        [
            ("MESH_AGENTS__CLOCKK__SETTINGS__X", "error", "did you mean MESH_AGENTS__CLOCK__SETTINGS__X?"),
            ("MESH_AGENTS__CLOCK__SETTNGS__X", "error", "did you mean MESH_AGENTS__CLOCK__SETTINGS__X?"),
            ("MESH_AGENTS__CLOCK__LIMITS__INBX", "error", "did you mean MESH_AGENTS__CLOCK__LIMITS__INBOX?"),
            ("MESH_HOST__PC__PORT", "error", "did you mean MESH_HOSTS__PC__PORT?"),
            ("MESH_HOSTS__PCC__PORT", "error", "did you mean MESH_HOSTS__PC__PORT?"),
            ("MESH_HOSTS__PC__PORT__X", "error", None),
            ("MESH_HOSTS__PC", "error", "name one of: ADDRESS, PORT, EVENTS_PORT, METRICS_PORT, KEY, BUDGET"),
            ("MESH_ENVIRONMET", "warning", "did you mean MESH_ENVIRONMENT?"),
            ("MESH_HOM", "warning", "did you mean MESH_HOME?"),
            ("MESH_REGISTRY", "warning", "name one of: HOST, PORT, METRICS_PORT, STORE"),
        ],
    )
    def test_one_that_sets_nothing_known(self, project: Project, name: str, severity: str, hint: str | None) -> None:
        finding = project.only(**{name: "1"})
        assert (finding.severity, finding.code) == (severity, "unknown_variable")
        assert (finding.file, finding.line) == (None, None)
        assert finding.message.startswith(f"env {name}: ")
        assert finding.hint == hint

    def test_one_with_a_value_that_does_not_fit(self, project: Project) -> None:
        finding = project.only(MESH_REGISTRY__PORT="seven")
        assert finding.message == "env MESH_REGISTRY__PORT: `registry.port` takes a whole number, found 'seven'"

    def test_one_that_makes_two_ports_the_same(self, project: Project) -> None:
        finding = project.only(MESH_HOSTS__TV__PORT="7410")
        assert finding.message.startswith("env MESH_HOSTS__TV__PORT: port 7410 on 127.0.0.1 is used twice")

    @pytest.mark.parametrize("text", ["{a: ]}", "[a: *b]", "2026-13-45", "<<"])
    def test_one_with_a_value_that_is_not_yaml(self, project: Project, text: str) -> None:
        finding = project.only(MESH_AGENTS__CLOCK__SETTINGS__X=text)
        assert (finding.code, finding.hint) == ("invalid_value", "put a text in quotes")
