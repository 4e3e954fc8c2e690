"""`mesh why`: a service, a call or a trace, and why it is as it is; one screen that ends in what follows from it."""

from __future__ import annotations

import asyncio
import textwrap
from typing import Any

from mesh.cli.cause import Conclusion, Facts, Sentence, conclude, sentences
from mesh.cli.check import everything
from mesh.cli.hosts import names
from mesh.cli.operator import connected
from mesh.cli.scope import Scope
from mesh.cli.screen import clean, coloured, document, say
from mesh.cli.table import width
from mesh.cli.trace import fetched
from mesh.cli.waterfall import Step, Waterfall
from mesh.config import Finding, MeshConfig
from mesh.errors import MeshError, MeshUnreachable

PATIENCE = 2.0
MARGIN = 11

Row = dict[str, Any]


def why(scope: Scope, subject: str) -> int:
    """Explain a service, `service.operation`, or the trace of a request; returns 1 for what there is not."""
    config = scope.config()
    service, _, operation = subject.partition(".")
    if service not in config.agents and not operation and _names_a_trace(subject):
        return _trace(scope, subject)
    facts = _facts(scope, config, service, operation or None)
    found = conclude(facts)
    _show(scope, subject, sentences(facts), found, {"service": service, "operation": operation or None,
                                                    "homes": facts.homes, "answers": facts.told})
    return 3 if facts.known and not facts.told else 0 if facts.known else 1


def _names_a_trace(subject: str) -> bool:
    """Tell whether a word is a trace's id, `traceparent`, or an error's id such as `mainpc-17`."""
    return "-" in subject or (len(subject) >= 8 and set(subject.lower()) <= set("0123456789abcdef"))


# --- a service


def _facts(scope: Scope, config: MeshConfig, service: str, operation: str | None) -> Facts:
    findings = [each for each in everything(scope.root(), scope.environment) if _about(each, config, service)]
    try:
        return asyncio.run(_asked(scope, Facts(service, config, operation, findings)))
    except MeshUnreachable:
        return Facts(service, config, operation, findings)


def _about(finding: Finding, config: MeshConfig, service: str) -> bool:
    spec = config.agents.get(service)
    files = {f"config/agents/{service}.yaml"}
    if spec is not None:
        files.add(str(spec.file.relative_to(config.root) if spec.file.is_relative_to(config.root) else spec.file))
    return finding.file in files


async def _asked(scope: Scope, facts: Facts) -> Facts:
    async with connected(scope) as operator:
        directory = await operator.directory()
        answers, registry = await asyncio.gather(
            operator.ask_each("supervisor.explain", names(facts.config, directory), {"service": facts.service},
                              limit=PATIENCE),
            operator.ask_each("registry.status", [facts.config.registry.host], limit=PATIENCE),
        )
    return Facts(facts.service, facts.config, facts.operation, facts.findings, directory, answers,
                 _registry(directory, *registry.values()))


def _registry(directory: Row, answer: Any) -> Row:
    known = {"revision": directory["revision"], **directory["registry"]}
    if isinstance(answer, MeshError):
        return {**known, "state": "unreachable", "reason": known["reason"] or answer.message}
    return {**known, **answer}


# --- a request that was made


def _trace(scope: Scope, subject: str) -> int:
    fall, missing = asyncio.run(fetched(scope, subject))
    steps = [step for step in fall.steps if step.hole is None]
    told = [Sentence(f"{step.host or '?'}", "  " * step.depth + _did(step), step.error is not None) for step in steps]
    told += [Sentence(host, f"what it kept is not known: {reason}", True) for host, reason in missing.items()]
    _show(scope, f"trace {fall.trace_id}", told, _trace_conclusion(fall, steps), {"trace_id": fall.trace_id})
    return 0


def _did(step: Step) -> str:
    return (f"{step.service}.{step.operation} took {step.duration * 1000:.1f} ms"
            + (f" and failed: {step.error}" if step.error else ""))


def _trace_conclusion(fall: Waterfall, steps: list[Step]) -> Conclusion:
    """Blame the innermost step that failed; without one, the step that took most of the time by itself."""
    failed = [step for step in steps if step.error is not None]
    if failed:
        deepest = max(failed, key=lambda step: step.depth)
        where = f" on {deepest.host}" if deepest.host else ""
        return Conclusion(f"it failed because {deepest.service}.{deepest.operation}{where} ended with {deepest.error}; "
                          f"mesh why {deepest.service} tells how that is, mesh errors --service {deepest.service} more")
    if not steps:
        return Conclusion("nothing is kept of it")
    slowest = max(steps, key=lambda step: step.duration - _below(step, steps))
    alone = (slowest.duration - _below(slowest, steps)) * 1000
    return Conclusion(f"nothing failed; of its {fall.duration * 1000:.1f} ms {slowest.service}.{slowest.operation} "
                      f"took most by itself ({alone:.1f} ms)", well=True)


def _below(step: Step, steps: list[Step]) -> float:
    return sum(each.duration for each in steps if each.parent_id == step.span_id)


# --- the screen


def _show(scope: Scope, subject: str, told: list[Sentence], found: Conclusion, more: Row) -> None:
    if scope.json:
        document({"subject": subject, "well": found.well, "therefore": found.text,
                  "facts": [{"topic": each.topic or None, "text": each.text, "trouble": each.bad} for each in told],
                  **more})
        return
    say(coloured(clean(subject), "bold"))
    before = ""
    for each in told:
        topic = "" if each.topic in ("", before) else each.topic
        before = each.topic or before
        _print(topic, each.text, "yellow" if each.bad else None)
    _print("therefore:", found.text, "green" if found.well else "red")


def _print(topic: str, text: str, colour: str | None) -> None:
    indent = " " * (MARGIN + 2)
    columns = width()
    lines = [clean(text)] if columns is None else textwrap.wrap(
        clean(text), max(20, columns - len(indent)), break_long_words=False, drop_whitespace=True) or [""]
    head = "  " + coloured(clean(f"{topic:{MARGIN - 1}}"), "dim") + " "
    say(head + ("\n" + indent).join(coloured(line, colour) for line in lines))
