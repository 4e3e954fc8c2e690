"""Only CURVE clients whose key is on the list are let in; everybody else is refused, counted and named."""

from __future__ import annotations

import pytest
import zmq
from zmq.utils import z85

from mesh.errors import StartError
from mesh.transport import profile
from mesh.transport.keys import fingerprint
from mesh.transport.zap import ENDPOINT, Verdict, Zap, judge

PUBLIC, _ = zmq.curve_keypair()
RAW = z85.decode(PUBLIC)
ALLOW = {PUBLIC: "pc2"}


def nobody(*_: object) -> None:
    """Take a report that no test waits for."""


def test_a_key_on_the_list_is_let_in_under_its_name() -> None:
    assert judge(b"mesh", b"10.0.0.2", b"CURVE", [RAW], ALLOW) == Verdict(
        name="pc2", address="10.0.0.2", key=fingerprint(PUBLIC.decode())
    )


@pytest.mark.parametrize(("domain", "mechanism", "credentials", "reason"), [
    (b"mesh", b"NULL", [], "NULL instead of CURVE"),
    (b"mesh", b"PLAIN", [b"pc2", b"password"], "PLAIN instead of CURVE"),
    (b"mesh", b"GSSAPI", [b"pc2"], "GSSAPI instead of CURVE"),
    (b"mesh", b"CURVE", [], "CURVE instead of CURVE"),
    (b"mesh", b"CURVE", [PUBLIC], "CURVE instead of CURVE"),
    (b"", b"CURVE", [RAW], "unknown domain ''"),
    (b"*", b"CURVE", [RAW], "unknown domain '*'"),
    (b"mesh", b"CURVE", [bytes(32)], "the key is not on the allow-list"),
])
def test_everything_else_is_refused_with_a_reason(
    domain: bytes, mechanism: bytes, credentials: list[bytes], reason: str
) -> None:
    verdict = judge(domain, b"10.0.0.9", mechanism, credentials, ALLOW)
    assert (verdict.name, verdict.reason, verdict.address) == ("", reason, "10.0.0.9")


def test_a_process_checks_keys_once() -> None:
    context = profile.new_context()
    first = Zap(context, ALLOW, nobody)
    with pytest.raises(StartError, match="checks keys already"):
        Zap(context, ALLOW, nobody)
    first.close()
    context.term()


def test_what_is_no_request_is_ignored_and_a_bad_listener_disturbs_nobody() -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("the error bus is away")

    context = profile.new_context()
    zap = Zap(context, ALLOW, broken)
    asking = context.socket(zmq.DEALER)
    asking.connect(ENDPOINT)
    for number, key in ((b"1", bytes(32)), (b"2", RAW)):
        asking.send_multipart([b"", b"nonsense"])
        asking.send_multipart([b"", b"1.0", number, b"mesh", b"10.0.0.2", b"", b"CURVE", key])
    zap.serve()
    answers = [asking.recv_multipart(), asking.recv_multipart()]
    assert [(answer[2], answer[3], answer[5]) for answer in answers] == [(b"1", b"400", b""), (b"2", b"200", b"pc2")]
    assert (zap.accepted, zap.refused) == (1, 1)
    asking.close()
    zap.close()
    context.term()
