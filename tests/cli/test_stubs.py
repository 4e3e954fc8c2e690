"""`mesh stubs`: what it writes is what the services publish, type checkers believe it, and calls through it work."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mesh.cli.stubtypes import Types
from tests.cli.runner import run
from tests.project import Project, project

ROOT = Path(__file__).resolve().parents[2]

SHELF = '''
    from collections.abc import AsyncIterator
    from datetime import datetime
    from enum import Enum
    from pathlib import Path
    from typing import Literal

    from pydantic import BaseModel, Field

    from mesh import Agent, operation


    class Genre(Enum):
        NOVEL = "novel"
        POEM = "poem"


    class Author(BaseModel):
        """Who wrote it."""

        name: str
        born: datetime | None = None


    class Book(BaseModel):
        """A book; "quoted" and back\\\\slashed."""

        title: str
        author: Author
        genre: Genre = Genre.NOVEL
        parts: list["Book"] = []
        class_: str = Field(default="", alias="class")


    class It(Agent):
        """Keeps books."""

        @operation
        async def put(self, book: Book, shelf: Literal["left", "right"] = "left", at: Path | None = None) -> int:
            """Put a book on a shelf."""
            return len(book.title)

        @operation(idempotent=True)
        async def find(self, word: str, most: int = 10, exact: bool = False) -> list[Book]:
            return [Book(title=word, author=Author(name="Ada"))][:most]

        @operation(idempotent=True)
        async def cover(self, title: str) -> bytes:
            return title.encode()

        @operation(idempotent=True)
        async def sizes(self) -> dict[str, tuple[int, float]]:
            return {"small": (1, 2.0)}

        @operation
        async def close(self) -> None: ...

        @operation
        async def read(self, title: str, pages: int = 3) -> AsyncIterator[str]:
            """Read a book page by page."""
            for page in range(pages):
                yield f"{title} {page}"
'''
READER = '''
    from agents_clients.shelf import ShelfClient

    from mesh import Agent, operation


    class It(Agent):
        """Reads books of the other host."""

        @operation
        async def tell(self) -> dict[str, object]:
            """Use every kind of operation."""
            shelf = self.peer(ShelfClient)
            number = await shelf.put(book={"title": "Ulysses", "author": {"name": "James"}}, shelf="right", timeout=5.0)
            found = await shelf.find(word="Ulysses", most=1)
            cover = await shelf.cover(title="Ulysses")
            sizes = await shelf.sizes()
            await self.options(to_host="mainpc").peer(ShelfClient).close()
            pages = [page async for page in shelf.read.stream(title="Ulysses", pages=2)]
            return {"number": number + 1, "author": found[0]["author"]["name"].upper(), "cover": len(cover),
                    "size": sizes["small"][0], "pages": pages}
'''
WRONG = (
    ('await shelf.find(word=5)', 'Argument "word" to "find" of "ShelfClient" has incompatible type "int"'),
    ('await shelf.find()', 'Missing named argument "word"'),
    ('await shelf.find(wrod="a")', 'Unexpected keyword argument "wrod"'),
    ('await shelf.fnid(word="a")', '"ShelfClient" has no attribute "fnid"'),
    ('await shelf.put(book={"title": "a"})', 'Missing key "author" for TypedDict "BookInput"'),
    ('await shelf.put(book={"title": "a", "author": {"name": "b"}}, shelf="top")',
     'has incompatible type "Literal[\'top\']"'),
    ('(await shelf.find(word="a"))[0]["titel"]', 'has no key "titel"'),
    ('(await shelf.cover(title="a")).encode()', '"bytes" has no attribute "encode"'),
)


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Project]:
    with project(tmp_path) as given:
        (given.root / "agents" / "mainpc").mkdir(parents=True)
        for service, source, host in (("shelf", SHELF, "mainpc"), ("reader", READER, "pc2")):
            given.agent(service, source, host=host)
            (given.root / "agents" / f"{service}.py").rename(given.root / "agents" / "mainpc" / f"{service}.py")
            config = given.root / "config" / "agents" / f"{service}.yaml"
            config.write_text(config.read_text().replace("agents/", "agents/mainpc/", 1))
        yield given


def checked(made: Project, file: Path) -> str:
    """Return what mypy says of a file of the project, `ok` if nothing."""
    names = made.root / "names"
    names.mkdir(exist_ok=True)
    if not (names / "agents_clients").exists():
        (names / "agents_clients").symlink_to(made.root / "agents" / "clients")
    done = subprocess.run([sys.executable, "-m", "mypy", "--strict", "--follow-imports", "silent", str(file)],
                          cwd=made.root, capture_output=True, text=True, check=False,
                          env={**os.environ, "MYPYPATH": f"{ROOT}:{names}"})
    return "ok" if done.returncode == 0 else done.stdout + done.stderr


def test_types_are_right_for_the_checker_and_calls_work_for_real(made: Project) -> None:
    result = run(made.root, "stubs", "--offline", "shelf")
    written = made.root / "agents" / "clients" / "shelf.py"
    assert result.code == 0 and f"{written}: ShelfClient\n" in result.out
    assert "from agents_clients.shelf import ShelfClient, then self.peer(ShelfClient)" in result.out
    offline = written.read_text()
    assert checked(made, written) == "ok"
    reader = made.root / "agents" / "mainpc" / "reader.py"
    assert checked(made, reader) == "ok"
    made.up()
    assert made.call("reader.tell")["result"] == {
        "number": 8, "author": "ADA", "cover": 7, "size": 1, "pages": ["Ulysses 0", "Ulysses 1"]}
    written.unlink()
    told = run(made.root, "stubs", "--json").json()["written"]
    assert {(row["service"], row["class"], row["changed"]) for row in told} == {
        ("shelf", "ShelfClient", True), ("reader", "ReaderClient", True)}
    assert written.read_text() == offline, "the same from a running mesh"
    assert "as it was" in run(made.root, "stubs", "shelf").out


def test_a_wrong_call_is_an_error_of_the_type_checker(made: Project) -> None:
    assert run(made.root, "stubs", "--offline", "shelf").code == 0
    lines = "".join(f"    {wrong}\n" for wrong, _ in WRONG)
    file = made.root / "wrong.py"
    file.write_text("from agents_clients.shelf import ShelfClient\n\n\nasync def wrong(shelf: ShelfClient) -> None:\n"
                    + lines)
    told = checked(made, file).splitlines()
    for number, (wrong, error) in enumerate(WRONG, 5):
        assert any(line.startswith(f"wrong.py:{number}: error:") and error in line for line in told), (wrong, told)


def test_what_a_person_wrote_stays(made: Project) -> None:
    file = made.root / "agents" / "clients" / "shelf.py"
    file.parent.mkdir()
    file.write_text("mine")
    result = run(made.root, "stubs", "--offline", "shelf")
    assert result.code == 2 and "was not written by `mesh stubs`" in result.err and file.read_text() == "mine"
    assert run(made.root, "stubs", "--offline", "shelf", "--out", str(made.root / "other")).code == 0
    assert (made.root / "other" / "shelf.py").exists()


def test_names_and_meshes_that_are_not_there(made: Project) -> None:
    wrong = run(made.root, "stubs", "--offline", "shelv")
    assert wrong.code == 1 and "did you mean shelf?" in wrong.err
    away = run(made.root, "stubs", "shelf")
    assert away.code == 3 and "mesh up" in away.err


def test_every_agent_of_the_project_can_be_typed(tmp_path: Path) -> None:
    result = run(ROOT, "stubs", "--offline", "--out", str(tmp_path / "clients"))
    assert result.code == 0
    done = subprocess.run([sys.executable, "-m", "mypy", "--strict", "--follow-imports", "silent", "-p", "clients"],
                          cwd=tmp_path, capture_output=True, text=True, check=False,
                          env={**os.environ, "MYPYPATH": f"{ROOT}:{tmp_path}"})
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(("schema", "given", "text"), [
    ({"type": "string"}, True, "str"),
    ({"type": "string", "format": "date-time"}, True, "datetime | str"),
    ({"type": "string", "format": "date-time"}, False, "str"),
    ({"type": "string", "format": "binary"}, False, "bytes"),
    ({"anyOf": [{"type": "integer"}, {"type": "number"}, {"type": "null"}]}, False, "int | float | None"),
    ({"type": "array", "items": {"type": "string"}}, False, "list[str]"),
    ({"type": "array", "items": {"type": "string"}, "uniqueItems": True}, True, "list[str] | set[str]"),
    ({"type": "array", "prefixItems": [{"type": "string"}, {"type": "integer"}]}, True,
     "list[str | int] | tuple[str, int]"),
    ({"type": "array"}, False, "list[Any]"),
    ({"type": "object", "additionalProperties": {"type": "number"}}, False, "dict[str, float]"),
    ({"type": "object"}, False, "dict[str, Any]"),
    ({"type": "object", "format": "ndarray"}, False, "Any"),
    ({"enum": ["a", "b"]}, False, "Literal['a', 'b']"),
    ({"const": 3}, False, "Literal[3]"),
    ({}, False, "Any"),
    ({"$ref": "#/$defs/Gone"}, False, "Any"),
])
def test_schemas_become_types(schema: dict[str, object], given: bool, text: str) -> None:
    assert Types([schema], [schema]).text(schema, given=given) == text
