"""What more load would lead to: pure rules over a sample and what the machine has."""

from __future__ import annotations

from dataclasses import dataclass

from agents_shared.system import LoadType, Metrics, Projection


@dataclass(frozen=True, slots=True)
class Capacity:
    """What a machine has, in MB, the shares of it that may be used, and from which percent its processor is busy."""

    ram_mb: float
    vram_mb: float
    ram_share: float
    vram_share: float
    cpu_percent: float


def project(load_type: LoadType, value: float, now: Metrics, capacity: Capacity) -> Projection:
    """Return what `value` more (MB, or percent points of the processor) would lead to."""
    if load_type == "cpu":
        percent = now.cpu_usage + value
        return Projection(
            recommendation="caution_high_cpu" if percent > capacity.cpu_percent else "proceed",
            reason=f"the processor would be at {percent:.0f} %, above {capacity.cpu_percent:.0f} %"
            if percent > capacity.cpu_percent else None,
            projected_cpu_percent=percent, current_state=now,
        )
    if load_type == "ram":
        projected = now.ram_usage_mb + value
        refused = _refusal("memory", projected, capacity.ram_mb, capacity.ram_share)
        return Projection(
            recommendation="deny_insufficient_resources" if refused else "proceed", reason=refused,
            projected_ram_mb=projected, current_state=now,
        )
    projected = now.vram_usage_mb + value
    refused = _refusal("video memory", projected, capacity.vram_mb, capacity.vram_share)
    return Projection(
        recommendation="deny_insufficient_resources" if refused else "proceed", reason=refused,
        projected_vram_mb=projected, current_state=now,
    )


def _refusal(what: str, projected: float, capacity: float, share: float) -> str | None:
    if projected <= share * capacity:
        return None
    if not capacity:
        return f"there is no {what} on this machine that is known of"
    return f"{what} would be at {projected:.0f} MB, above {share:.0%} of {capacity:.0f} MB"
