"""`mesh why` on real meshes that are broken in one way each: the last line names the cause and what to do."""

from __future__ import annotations

from typing import Any

from tests.cli.conftest import LAMP
from tests.cli.runner import run
from tests.eventually import wait_until
from tests.project import Project

Row = dict[str, Any]
BROKEN = "from mesh import Agent\nclass It(Agent):\n    async def setup(self):\n        raise ValueError('no bulb')\n"
SLOW = "from mesh import Agent\nclass It(Agent):\n    async def setup(self):\n        await self.clock.sleep(30)\n"
DIM = "from mesh import Agent\nclass It(Agent):\n    async def check(self):\n        return 'needs a bulb: buy one'\n"
PLAIN = "from mesh import Agent\nclass It(Agent): ...\n"


def why(mesh: Project, subject: str) -> Row:
    result = run(mesh.root, "why", subject, "--json")
    told: Row = result.json()
    return {**told, "code": result.code}


def therefore(mesh: Project, subject: str) -> str:
    return str(why(mesh, subject)["therefore"])


def renewed(mesh: Project) -> None:
    """Have nothing of what other tests did to it left against torch."""
    assert run(mesh.root, "agent", "restart", "torch").code == 0


def test_a_service_that_is_well(mesh: Project) -> None:
    renewed(mesh)
    told = why(mesh, "torch")
    assert told["well"] and told["code"] == 0
    assert told["therefore"] == "torch is well: mainpc and pc2 can call it on pc2"
    topics = {row["topic"] for row in told["facts"]}
    assert topics >= {"owner", "pc2", "seen by", "registry"}
    assert any("lease of pc2 renewed" in row["text"] for row in told["facts"])


def test_the_screen_ends_with_what_follows(mesh: Project) -> None:
    renewed(mesh)
    result = run(mesh.root, "why", "torch")
    assert result.out.splitlines()[0] == "torch"
    assert result.out.splitlines()[-1].lstrip().startswith("therefore: torch is well")


def test_a_name_nobody_knows(mesh: Project) -> None:
    told = why(mesh, "trch")
    assert told["code"] == 1 and "did you mean torch?" in told["therefore"]


def test_an_operation_nobody_has(mesh: Project) -> None:
    assert "did you mean shine?" in therefore(mesh, "torch.shime")


def test_a_request_that_failed_is_traced_to_the_innermost(mesh: Project) -> None:
    failed = mesh.call("torch.blow", why="too hot")
    told = why(mesh, failed["trace_id"])
    assert "it failed because torch.blow on pc2 ended with" in told["therefore"] and told["code"] == 0
    asked = run(mesh.root, "ask", "hello", "--json").json()
    assert therefore(mesh, asked["trace_id"]).startswith("nothing failed")


def test_what_went_wrong_lately_is_among_the_facts(mesh: Project) -> None:
    mesh.call("torch.blow", why="blown fuse")
    errors = [row["text"] for row in why(mesh, "torch")["facts"] if row["topic"] == "error"]
    assert any("blown fuse" in text and "mesh errors show pc2-" in text for text in errors)


def test_agents_in_trouble_each_have_their_cause(furnished: Project) -> None:
    furnished.agent("broken", BROKEN)
    furnished.agent("slow", SLOW, limits={"start_s": 60})
    furnished.agent("waiting", PLAIN, depends_on=[{"service": "slow"}])
    furnished.agent("dim", DIM, host="pc2")
    furnished.spawn("mesh.cli", "up", "--json")
    wait_until(lambda: run(furnished.root, "status").code != 3, 30)
    wait_until(lambda: "stays down" in therefore(furnished, "broken"), 30)
    assert "ValueError: no bulb" in therefore(furnished, "broken")
    assert any("quarantined" in row["text"] for row in why(furnished, "broken")["facts"])
    assert therefore(furnished, "waiting").startswith("waiting on mainpc waits for slow to start; mesh why slow")
    assert "is just starting" in therefore(furnished, "slow")
    wait_until(lambda: "needs a bulb: buy one" in therefore(furnished, "dim"), 20)
    assert run(furnished.root, "agent", "stop", "lamp").code == 0
    assert therefore(furnished, "lamp") == "an operator stopped lamp on mainpc; mesh agent start lamp starts it"
    furnished.agent("late", PLAIN)
    assert "restart mainpc" in therefore(furnished, "late")


def test_a_host_and_a_registry_that_are_gone(furnished: Project) -> None:
    furnished.up()
    launcher = next(each for each in furnished.processes() if "mesh.cli.launch" in each.cmdline())
    launcher.suspend()  # else it starts again what is killed
    furnished.kill("registry")
    wait_until(lambda: "the registry is away" in therefore(furnished, "torch"), 20)
    assert any("cannot be reached" in row["text"] for row in why(furnished, "torch")["facts"]
               if row["topic"] == "registry")
    furnished.kill("pc2")
    wait_until(lambda: "pc2, where torch runs" in therefore(furnished, "torch"), 20)
    launcher.resume()


def test_with_nothing_up_config_is_all_there_is(furnished: Project) -> None:
    told = why(furnished, "torch")
    assert told["code"] == 3 and "no host of the mesh answers" in told["therefore"]
    assert any("configured for pc2" in row["text"] for row in told["facts"])


def test_an_agent_that_does_not_load_is_told_with_its_line(furnished: Project) -> None:
    furnished.agent("lamp", LAMP + "\n    oops(\n")
    facts = why(furnished, "lamp")["facts"]
    assert any(row["topic"] == "config" and "lamp.py" in row["text"] for row in facts)
