"""The config section of a language model server, and what is known to be missing before it is called."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from mesh.errors import EngineMissing

INSTALL = "pip install 'mesh[http]'"


class EngineConfig(BaseModel):
    """A server that speaks the OpenAI chat protocol; the key itself stands in the environment, never in config."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    base_url: str
    """Such as `http://127.0.0.1:8080/v1`; without a path, `/v1` is added."""
    model: str = Field(min_length=1)
    api_key_env: str | None = None
    """Name of the environment variable that holds the key; none for servers that ask for none."""
    timeout_s: float = Field(default=30.0, gt=0)
    max_connections: int = Field(default=8, ge=1)

    @field_validator("base_url")
    @classmethod
    def _check_url(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("write an address such as http://127.0.0.1:8080/v1")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError("write scheme, host, port and path only; a key goes into the variable of api_key_env")
        return url.rstrip("/") + ("" if parts.path.strip("/") else "/v1")

    def key(self, environ: Mapping[str, str]) -> str | None:
        """Return the key, None where none is asked for; raises `EngineMissing` when its variable is not set."""
        if self.api_key_env is None:
            return None
        key = environ.get(self.api_key_env, "").strip()
        if not key:
            raise EngineMissing(
                f"the engine at {self.base_url} needs a key, and the environment variable {self.api_key_env} is not "
                f"set; set it where the host starts", command=f"export {self.api_key_env}=…",
            )
        return key


def _builtin(value: Any) -> Any:
    return None if value == "builtin" else value


Engine = Annotated[EngineConfig | None, BeforeValidator(_builtin)]
"""The type of a setting `engine`: `builtin` (or nothing) is None, otherwise the section of a server."""


def obstacle(engine: EngineConfig, environ: Mapping[str, str] = os.environ) -> str | None:
    """Return what must be done before `engine` can answer, None when nothing is known to be missing."""
    if importlib.util.find_spec("httpx") is None:
        return f"the engine at {engine.base_url} needs httpx: {INSTALL}"
    try:
        engine.key(environ)
    except EngineMissing as error:
        return error.message
    return None
