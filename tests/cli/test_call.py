"""`mesh call` prints what an operation returns, or in one or two lines why it failed."""

from __future__ import annotations

import base64
import re

import pytest

from tests.cli.runner import run
from tests.project import Project


def test_arguments_are_what_the_operation_asks_for(mesh: Project) -> None:
    told = run(mesh.root, "call", "torch.shine", "name=5", "times=3", 'tags=["a", "b"]', "--json").json()
    assert told["ok"] is True
    assert told["result"] == {"name": "5", "times": 3, "tags": ["a", "b"], "host": "pc2", "colour": "red"}


def test_the_answer_says_who_gave_it_and_how_long_it_took(mesh: Project) -> None:
    told = run(mesh.root, "call", "lamp.glow", "seconds=0.2", "--json").json()
    assert (told["host"], told["attempts"], told["result"]) == ("mainpc", 1, None)
    assert 200 <= told["elapsed_ms"] < 5000 and len(told["trace_id"]) == 32
    assert run(mesh.root, "call", "torch.shine", "name=a", "--json").json()["host"] == "pc2"


def test_people_see_the_result_alone(mesh: Project) -> None:
    result = run(mesh.root, "call", "lamp.shine", "--data", '{"name": "x"}')
    assert result.code == 0 and '"name": "x"' in result.out and result.err == ""
    assert run(mesh.root, "call", "lamp.nothing").out == "null\n"


def test_words_win_over_data(mesh: Project) -> None:
    told = run(mesh.root, "call", "lamp.shine", "name=word", "--data", '{"name": "data", "times": 2}', "--json").json()
    assert (told["result"]["name"], told["result"]["times"]) == ("word", 2)


def test_bytes_are_base64_for_programs_and_a_summary_for_people(mesh: Project) -> None:
    assert base64.b64decode(run(mesh.root, "call", "lamp.picture", "--json").json()["result"]) == b"\x00\xff"
    assert run(mesh.root, "call", "lamp.picture").out == "<2 bytes: AP8=>\n"


@pytest.mark.parametrize(("words", "code", "told"), [
    (["lmap.shine"], "unknown_service", "service lmap; did you mean lamp?"),
    (["lamp.shien"], "unknown_operation", "lamp has no operation shien; did you mean shine?"),
    (["torch.shine"], "invalid_argument", "argument 'name' is missing, expected str"),
    (["torch.shine", "name=a", "times=many"], "invalid_argument", "argument 'times': expected int, found 'many' (str)"),
    (["torch.shine", "nmae=a"], "invalid_argument", "did you mean 'name'?"),
    (["lamp.blow", "why=because"], "remote_failure", "lamp.blow raised ValueError: because"),
    (["lamp.shine", "name=a", "--to-host", "pc2"], "unavailable", "lamp is not offered by pc2"),
])
def test_a_failure_has_its_code_for_programs_and_says_what_to_do_for_people(
    mesh: Project, words: list[str], code: str, told: str
) -> None:
    result = run(mesh.root, "call", *words, "--json")
    document = result.json()
    assert result.code == 1 and document["ok"] is False and len(document["trace_id"]) == 32
    assert document["error"]["code"] == code and told in document["error"]["message"]
    service, operation = words[0].split(".")
    assert (document["error"]["service"], document["error"]["operation"]) == (service, operation)
    assert set(document["error"]) >= {"code", "message", "service", "operation", "host", "retryable"}
    plain = run(mesh.root, "call", *words)
    assert plain.code == 1 and plain.out == "" and told in plain.err and len(plain.err.splitlines()) <= 2


def test_a_failure_names_the_host_that_answered_and_the_error_it_keeps(mesh: Project) -> None:
    error = run(mesh.root, "call", "torch.blow", "why=because", "--json").json()["error"]
    assert error["host"] == "pc2" and error["error_id"].startswith("pc2-") and error["type"] == "ValueError"


def test_people_are_told_the_command_that_tells_more_of_what_an_operation_raised(mesh: Project) -> None:
    said = run(mesh.root, "call", "torch.blow", "why=because").err.splitlines()
    assert said[0].endswith("torch.blow raised ValueError: because")
    found = re.fullmatch(r"`mesh errors show (pc2-\d+)` tells more", said[1])
    assert found and run(mesh.root, "errors", "show", found[1], "--json").json()["message"] == "because"
    assert "errors show" not in run(mesh.root, "call", "lamp.shien").err


@pytest.mark.parametrize(("words", "exit_code", "code"), [
    (["call", "lamp.shine", "name=a"], 3, "mesh_unreachable"),
    (["call", "lamp", "name=a"], 2, "usage_error"),
    (["ask", "hello"], 3, "mesh_unreachable"),
    (["ask", " "], 2, "usage_error"),
])
def test_programs_get_a_document_also_where_no_call_could_be_made(
    furnished: Project, words: list[str], exit_code: int, code: str
) -> None:
    result = run(furnished.root, *words, "--json")
    told = result.json()
    assert result.code == exit_code and result.err == ""
    assert (told["ok"], told["error"]["code"], told["elapsed_ms"], told["trace_id"]) == (False, code, None, None)
    assert told["error"]["message"] and told["error"]["host"] is None
    plain = run(furnished.root, *words)
    assert plain.code == exit_code and plain.out == "" and told["error"]["message"] in plain.err


def test_a_config_that_is_wrong_is_a_document_too(furnished: Project) -> None:
    (furnished.root / "config" / "agents" / "lamp.yaml").write_text("clas: agents/lamp.py:It\n")
    result = run(furnished.root, "call", "lamp.shine", "--json")
    assert result.code == 2 and result.json()["error"]["code"] == "config_error"


def test_a_deadline_that_passes_has_an_exit_code_of_its_own(mesh: Project) -> None:
    result = run(mesh.root, "call", "lamp.glow", "seconds=30", "--timeout", "0.3", "--json")
    assert result.code == 4 and result.json()["error"]["code"] == "deadline_exceeded"
    assert 250 <= result.json()["elapsed_ms"] < 30_000


def test_a_host_can_be_chosen_and_must_exist(mesh: Project) -> None:
    assert run(mesh.root, "call", "supervisor.status", "--to-host", "pc2", "--json").json()["result"]["name"] == "pc2"
    result = run(mesh.root, "call", "lamp.shine", "name=a", "--to-host", "pc3")
    assert result.code == 2 and "there is no host 'pc3', the mesh has mainpc, pc2" in result.err


def test_the_registry_can_be_called_like_a_service(mesh: Project) -> None:
    assert run(mesh.root, "call", "registry.status", "--json").json()["result"]["state"] == "ok"
