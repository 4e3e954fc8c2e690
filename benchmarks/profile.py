"""`python -m benchmarks.profile`: where a call's time goes, as a flame graph of each host's process.

A mesh of two hosts has the load of the benchmark of that kind, 64 calls outstanding, while py-spy (extra `bench`) reads
the stacks of both hosts; the graphs are `remote-call-caller.svg` and `remote-call-callee.svg` in `docs/plots`, and the
functions that took most themselves are printed.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path

from benchmarks import calls, flame

PLOTS = calls.ROOT / "docs" / "plots"
LAYOUTS: Mapping[str, tuple[str, str, str]] = {
    "remote": ("pc2", "coroutine", "none"), "curve": ("pc2", "coroutine", "curve"),
    "local": ("mainpc", "coroutine", "none"), "process": ("mainpc", "process", "none"),
}
"""Where the called agent is, its isolation, and the security."""
SIDES = {"mainpc": "caller", "pc2": "callee"}


def main() -> int:
    """Record, draw, and print the dearest functions."""
    chosen = _arguments()
    spy = Path(sysconfig.get_path("scripts")) / "py-spy"
    if not spy.exists():
        print("py-spy is not installed; pip install 'mesh[bench]'", file=sys.stderr)
        return 1
    chosen.folder.mkdir(parents=True, exist_ok=True)
    echo_host, isolation, security = LAYOUTS[chosen.kind]
    with calls.running_anywhere(echo_host=echo_host, isolation=isolation, security=security) as folder:
        hosts = calls.hosts(folder)
        sides = {side: hosts[host] for host, side in SIDES.items() if host in ("mainpc", echo_host)}
        stacks = {side: folder / f"{side}.stacks" for side in sides}
        recorders = [subprocess.Popen([
            str(spy), "record", "--pid", str(process.pid), "--duration", str(chosen.seconds), "--function",
            "--rate", str(chosen.rate), "--format", "raw", "--output", str(stacks[side]),
            *(["--native"] if chosen.native else []),
        ], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) for side, process in sides.items()]
        while any(recorder.poll() is None for recorder in recorders):
            calls.measure(folder, calls=60_000, outstanding=64)
        failed = [recorder.communicate()[1] for recorder in recorders if recorder.returncode]
        for side in sides if not failed else ():
            print(_drawn(chosen, side, flame.tree(stacks[side].read_text().splitlines())))
    print("\n".join(failed), end="", file=sys.stderr)
    return 1 if failed else 0


def _drawn(chosen: argparse.Namespace, side: str, loop: flame.Frame) -> str:
    """Write the graph of one side; returns where, and the dearest functions."""
    label = f", {chosen.label}" if chosen.label else ""
    name = f"{chosen.kind} call, {side}{label}".replace(", ", "-").replace(" ", "-")
    file = chosen.folder / f"{name}.svg"
    file.write_text(flame.svg(loop, f"{chosen.kind} call, 64 outstanding: the {side}'s event loop{label}"))
    told = "\n".join(f"  {share:6.1%}  {function}" for function, share in flame.dearest(loop))
    return f"{file}: own share of what the callbacks took, {loop.count} samples\n{told}"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.profile", description=__doc__)
    parser.add_argument("kind", nargs="?", choices=LAYOUTS, default="remote")
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--rate", type=int, default=500, help="samples a second")
    parser.add_argument("--native", action="store_true", help="with the functions of extensions written in C")
    parser.add_argument("--label", default="", help="added to the files' names, such as `before`")
    parser.add_argument("--folder", type=Path, default=PLOTS)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
