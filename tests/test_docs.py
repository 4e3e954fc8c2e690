"""The pages: what they show is run, what they list is complete."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mesh.errors import WIRE_ERRORS
from mesh.supervisor.cell.lifecycle import diagram
from tests.project import Project

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"


@dataclass(frozen=True)
class Block:
    """A fenced block of a page, with the comment above it."""

    language: str
    text: str
    file: str | None
    fails: int


def blocks(page: Path) -> Iterator[Block]:
    """Yield the fenced blocks of a page, in order."""
    pattern = re.compile(r"(?:<!-- (file|fails): (\S+) -->\n)?```(\w*)\n(.*?)```", re.DOTALL)
    for comment, value, language, text in pattern.findall(page.read_text()):
        yield Block(language, text, value if comment == "file" else None, int(value) if comment == "fails" else 0)


def test_every_step_of_the_guide_works(clone: Project) -> None:
    printed = ""
    for block in blocks(DOCS / "guide.md"):
        if block.file is not None:
            path = clone.root / block.file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text)
        elif block.language == "sh":
            printed = "".join(_run(clone, line, block.fails) for line in block.text.splitlines())
        elif block.language == "text":
            for line in block.text.splitlines():
                assert line in printed


def _run(clone: Project, line: str, expected: int) -> str:
    """Run a command line of the guide; what prepares the shell is left to the reader."""
    words = shlex.split(line)
    if words[0] in (".", "make") or words == ["mesh", "status"]:
        return ""
    module = "mesh.cli" if words[0] == "mesh" else words[2]
    done = subprocess.run([sys.executable, "-m", module, *words[1 if words[0] == "mesh" else 3 :]], cwd=clone.root,
                          capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == expected, f"{line}: {done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def test_every_error_code_has_its_section_and_every_section_its_code() -> None:
    page = (DOCS / "errors.md").read_text()
    sections = {part.partition("\n")[0]: part for part in page.split("\n## ")[1:]}
    assert list(sections) == list(WIRE_ERRORS)
    for code, error in WIRE_ERRORS.items():
        carries = ", ".join(f"`{name}`" for name in error.carries) or "nothing"
        facts = (f"`{error.__name__}` · fault: {error.fault} · retryable: {'yes' if error.retryable else 'no'} · "
                 f"carries {carries} · exit code {error.exit_code} · HTTP {error.http_status}")
        assert facts in sections[code] and "**Do**: " in sections[code]


def test_every_command_is_explained() -> None:
    page = (DOCS / "operating.md").read_text()
    done = subprocess.run([sys.executable, "-m", "mesh.cli", "--help"], capture_output=True, text=True, check=True)
    commands = re.findall(r"^[│| ]+([a-z]+) ", done.stdout.partition("Commands")[2], re.MULTILINE)
    assert len(commands) >= 13
    assert [command for command in commands if f"mesh {command}" not in page] == []


def test_the_page_shows_the_states_of_the_table() -> None:
    assert diagram() in (DOCS / "architecture.md").read_text()


def test_no_link_between_pages_is_broken() -> None:
    for page in [*DOCS.glob("*.md"), *ROOT.glob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} points to {target}"


def test_every_screen_that_was_drawn_is_shown() -> None:
    page = (DOCS / "screens.md").read_text()
    drawn = sorted(path.relative_to(DOCS).as_posix() for path in (DOCS / "screens").glob("*.svg"))
    assert drawn and [one for one in drawn if f"({one})" not in page] == []
