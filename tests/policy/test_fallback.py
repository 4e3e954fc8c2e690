"""A fallback answers for the errors its rule names, says so, and hides nothing that is the caller's own fault."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.config import FallbackRule, Policies
from mesh.errors import (
    WIRE_ERRORS,
    CallCycle,
    InvalidArgument,
    MeshError,
    Overloaded,
    PermissionDenied,
    RemoteFailure,
    Unavailable,
)
from mesh.message import Reply, Request, encode, replied
from mesh.policy.fallback import Fallbacks, fallback
from tests.figures import read
from tests.policy.calls import ask, code, on_a_loop
from tests.policy.test_stack import Caller

HIDES_NEVER = {"unknown_service", "unknown_operation", "invalid_argument", "permission_denied", "call_cycle",
               "cancelled", "message_too_large", "protocol_error"}


class Asked:
    """An operation that fails as told, and another that answers in its place."""

    def __init__(self, error: MeshError | None, second: Reply | None = None, **rule: object) -> None:
        self.asked: list[Request] = []
        self.fallbacks = Fallbacks()
        self._error = error
        self._second = second or Reply(encode("second best"), host="pc2")
        self.handle = fallback(FallbackRule(**rule), self.fallbacks, self._other, self._first)  # type: ignore[arg-type]

    async def _first(self, request: Request) -> Reply:
        return Reply(encode("best"), self._error, "pc2", attempts=3)

    async def _other(self, request: Request) -> Reply:
        self.asked.append(request)
        return self._second


@on_a_loop
async def test_what_works_is_not_touched() -> None:
    asked = Asked(None, value="nothing known")
    reply = await asked.handle(ask(1))
    assert (reply.value(), reply.fallback, list(asked.fallbacks.samples())) == ("best", "", [])


@on_a_loop
async def test_a_value_stands_in_and_the_reply_says_so() -> None:
    asked = Asked(Unavailable("it starts"), value={"facts": []})
    reply = await asked.handle(ask(1))
    assert (reply.value(), reply.error, reply.fallback) == ({"facts": []}, None, "value")
    assert read(asked.fallbacks.samples()) == {("mesh_fallbacks_total", "kb", "unavailable"): 1}
    assert asked.fallbacks.row("kb") == {"answered": 1, "failed": 0}


@pytest.mark.parametrize(("service", "target"), [("backup", "backup.find"), ("backup.look_up", "backup.look_up")])
def test_another_operation_stands_in_with_the_failed_call_in_its_path(service: str, target: str) -> None:
    @on_a_loop
    async def scenario() -> None:
        asked = Asked(RemoteFailure("it broke"), service=service)
        reply = await asked.handle(ask("x", path=("nlu.parse",), to_host="pc2", options=b"\x80"))
        assert (reply.value(), reply.fallback) == ("second best", target)
        request = asked.asked[0]
        assert (request.target, request.path) == (target, ("nlu.parse", "kb.find"))
        assert (request.body, request.deadline) == (encode("x"), 2000.0)
        assert (request.to_host, request.options) == (None, b"")

    scenario()


@on_a_loop
async def test_when_both_fail_the_caller_is_told_of_both() -> None:
    asked = Asked(Overloaded("kb takes no more", retry_after=0.5), Reply(error=RemoteFailure("no such table")),
                  service="backup")
    reply = await asked.handle(ask(1))
    assert isinstance(reply.error, Overloaded) and reply.attempts == 3
    assert reply.error.message == ("kb takes no more; its fallback backup.find failed as well: remote_failure: "
                                   "no such table")
    assert reply.error.details == {"retry_after": 0.5}
    assert read(asked.fallbacks.samples()) == {("mesh_fallbacks_failed_total", "kb", "overloaded"): 1}


@pytest.mark.parametrize("error", [InvalidArgument("no", path="x"), PermissionDenied("no", rule="r"), CallCycle("no")])
def test_what_the_caller_did_wrong_is_not_hidden(error: MeshError) -> None:
    @on_a_loop
    async def scenario() -> None:
        asked = Asked(error, value="all is well")
        assert (await asked.handle(ask(1))).error is error

    scenario()


def test_a_rule_cannot_even_name_what_is_never_hidden() -> None:
    for hidden in sorted(HIDES_NEVER):
        with pytest.raises(ValueError, match="on"):
            FallbackRule.model_validate({"value": 1, "on": [hidden]})
    assert set(FallbackRule().on) == set(WIRE_ERRORS) - HIDES_NEVER


@on_a_loop
async def test_a_value_does_not_stand_in_for_a_stream() -> None:
    error = Unavailable("it starts")
    assert (await Asked(error, value=1).handle(ask(1, credit=8))).error is error


@given(name=st.sampled_from(sorted(WIRE_ERRORS)), named=st.lists(st.sampled_from(FallbackRule().on), unique=True),
       second=st.sampled_from(["", "unavailable", "remote_failure"]), as_value=st.booleans())
def test_an_error_ends_as_itself_unless_its_rule_names_it_and_something_answered(
    name: str, named: list[str], second: str, as_value: bool
) -> None:
    @on_a_loop
    async def scenario() -> None:
        rule = {"value": "v"} if as_value else {"service": "backup"}
        answer = Reply(error=WIRE_ERRORS[second]("also")) if second else None
        asked = Asked(WIRE_ERRORS[name]("why"), answer, on=named, **rule)
        reply = await asked.handle(ask(1))
        if name in named and (as_value or not second):
            assert code(reply) == "" and reply.fallback
        else:
            assert code(reply) == name and not reply.fallback
        assert bool(asked.asked) == (name in named and not as_value)

    scenario()


@on_a_loop
async def test_two_that_are_each_others_fallback_do_not_ask_for_ever() -> None:
    caller = Caller(Policies.model_validate({"fallback": {"service": "nlu"}, "retry": None}))
    caller.fails = {"kb": Unavailable("kb is away"), "nlu": Unavailable("nlu is away")}
    caller.policies_of["nlu"] = Policies.model_validate({"fallback": {"service": "kb"}, "retry": None})
    error = (await replied(caller.send(ask(target="kb.find")))).error
    assert isinstance(error, Unavailable)
    assert error.message.startswith("kb is away; its fallback nlu.find failed as well: unavailable: nlu is away; ")
    assert "call_cycle" in error.message
