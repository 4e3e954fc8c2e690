"""docs/metrics.md lists every instrument that the modules declare."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "tools.metrics_reference", *arguments], cwd=ROOT, capture_output=True,
                          text=True, check=False, timeout=120)


def test_the_page_of_this_repository_is_what_the_modules_declare() -> None:
    done = run("--check")
    assert done.returncode == 0, done.stderr


def test_each_instrument_has_its_line(tmp_path: Path) -> None:
    assert run("--root", str(tmp_path), "--write").returncode == 0
    page = (tmp_path / "docs/metrics.md").read_text()
    assert "| `mesh_calls_total` | counter | `service`, `operation`, `code` | host, registry | Calls answered" in page
    assert page.count("\n| `mesh_") > 50


def test_another_page_fails_the_check_with_the_command(tmp_path: Path) -> None:
    assert run("--root", str(tmp_path), "--check").returncode == 1
    run("--root", str(tmp_path), "--write")
    page = tmp_path / "docs/metrics.md"
    page.write_text(page.read_text().replace("| `mesh_readers` |", "| `mesh_reader` |"))
    done = run("--root", str(tmp_path), "--check")
    assert done.returncode == 1
    assert "docs/metrics.md is not what the modules declare" in done.stderr
    assert "run `python tools/metrics_reference.py --write`" in done.stderr
