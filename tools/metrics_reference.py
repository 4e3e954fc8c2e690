"""Prints docs/metrics.md from the instruments that the modules declare, so the page says what the code does.

python tools/metrics_reference.py            prints the page
python tools/metrics_reference.py --write    writes it to docs/metrics.md
python tools/metrics_reference.py --check    ends with 1 and says so if docs/metrics.md is another
"""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import sys
from collections.abc import Iterator
from pathlib import Path

import mesh
import registry
from mesh.metrics import Instrument, declared
from mesh.scrape import AT_ONCE, SHOWN

ROOT = Path(__file__).resolve().parents[1]
PAGE = "docs/metrics.md"
COMMAND = "python tools/metrics_reference.py --write"

INTRODUCTION = f"""\
# Metrics

The table is printed from the instruments that the modules declare (`{COMMAND}`).

Every host shows its figures at `http://<address>:<metrics_port>/metrics`, the registry at the `metrics_port` of
`registry:` (7402), both at the address of their host in `config/hosts.yaml`: on loopback in development, on the
network where hosts talk over it. `mesh status --json` says where, or why not: a port that is taken is told on the error
bus (by the registry in its log), stops nothing, and is tried again every ten seconds.

The page is plain HTTP and asks for no key. It holds names of hosts, services, operations and error codes, and
numbers; nothing that was said in a call. Where that is too much, let only Prometheus reach the port.

```yaml
# deploy/prometheus/prometheus.yml has this with addresses and alert rules; the board for Grafana is in deploy/grafana/
scrape_configs:
  - job_name: mesh
    static_configs:
      - {{targets: ["192.168.1.10:7412"], labels: {{host: mainpc}}}}
      - {{targets: ["192.168.1.11:7422"], labels: {{host: pc2}}}}
      - {{targets: ["192.168.1.10:7402"], labels: {{host: registry}}}}
```

- A figure is read when a scrape comes, from what the host keeps anyway (`mesh status` and `mesh agents` read the same),
  so a host that nobody scrapes pays nothing but the counting.
- A thread answers, not the event loop. While the loop stands still the page shows what the loop said last and tells
  its age in `mesh_figures_age_seconds`; `mesh_loop_still_seconds` and the figures of the process are fresh even then.
- At most {AT_ONCE} scrapes at once; only `GET /metrics` is answered.
- No label has a value that a caller can make up: calls to operations that an agent does not have are counted as
  `operation="other"`, names that no host knows as `service="unknown"`.
- A figure of an agent is that of its first instance on the host; those of a second and further one have the same
  labels and `number="2"` besides, so `sum by (service)` is right whether there are several or not.
- Which host it is says the label that Prometheus is told (`host` above); `mesh_host_info` says it too.
- Histograms have the buckets {', '.join(f'{bound:g}' for bound in SHOWN)} s. `mesh agents` shows quantiles of the
  same durations in finer ones.
- Beside these there are the figures of every Python program: `process_cpu_seconds_total`,
  `process_resident_memory_bytes`, `process_virtual_memory_bytes`, `process_open_fds`, `process_max_fds`,
  `process_start_time_seconds`, `python_gc_*` and `python_info`.

How full frames are, for example, is `rate(mesh_envelopes_sent_total[1m]) / rate(mesh_frames_sent_total[1m])`, and the
median of an operation
`histogram_quantile(0.5, sum by (le) (rate(mesh_call_seconds_bucket{{operation="ask"}}[5m])))`.

## Instruments
"""


def load() -> dict[str, Instrument]:
    """Import every module of the mesh and of the registry and return what they declare, by name."""
    for package in (mesh, registry):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    return dict(sorted(declared().items()))


def page() -> str:
    """Return the whole page."""
    return "\n".join([INTRODUCTION, "| name | kind | labels | shown by | meaning |", "|---|---|---|---|---|",
                      *rows(load()), ""])


def rows(instruments: dict[str, Instrument]) -> Iterator[str]:
    """Yield a line of the table per instrument."""
    for name, one in instruments.items():
        labels = ", ".join(f"`{label}`" for label in one.labels)
        yield f"| `{name}` | {one.kind} | {labels} | {', '.join(one.programs)} | {one.help} |"


def main() -> int:
    """Print, write or compare the page; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--write", action="store_true", help=f"write {PAGE}")
    what.add_argument("--check", action="store_true", help=f"fail if {PAGE} is another")
    parser.add_argument("--root", type=Path, default=ROOT, help="the project")
    arguments = parser.parse_args()
    text, file = page(), arguments.root / PAGE
    if arguments.write:
        file.parent.mkdir(exist_ok=True)
        file.write_text(text, encoding="utf-8")
    elif not arguments.check:
        print(text, end="")
    elif not file.is_file() or file.read_text(encoding="utf-8") != text:
        print(f"{PAGE} is not what the modules declare; run `{COMMAND}`", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
