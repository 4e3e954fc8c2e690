"""What agents are made of, and what a host needs to run them."""

from mesh.agent.agent import Agent, examine, finish, reconfigure
from mesh.agent.caching import Cache
from mesh.agent.caller import Caller, Peer, TypedPeer
from mesh.agent.chat import ChatClient, Completion, Usage
from mesh.agent.context import AgentContext
from mesh.agent.data import DataAgent
from mesh.agent.engine import Engine, EngineConfig
from mesh.agent.integration import HttpSettings, IntegrationAgent
from mesh.agent.interface import Interface, compile_agent, interface_of
from mesh.agent.ml import MLAgent
from mesh.agent.operation import every, operation, subscribe
from mesh.agent.reaction import Subscription, Timer, compile_subscriptions, compile_timers
from mesh.agent.schema import RESERVED, Operation, compile_operations
from mesh.agent.settings import AgentConfig, read_settings
from mesh.connections import Answer
from mesh.database import Database, Written
from mesh.models import Batched
from mesh.policy.options import CallOptions
from mesh.state import StateStore, StateVersion

__all__ = [  # noqa: RUF022
    # writing an agent
    "Agent", "AgentConfig", "DataAgent", "IntegrationAgent", "MLAgent", "operation", "subscribe", "every",
    "Cache",
    # calling others
    "Caller", "Peer", "TypedPeer",
    # data, state and models
    "Database", "Written", "StateVersion", "ChatClient", "Completion", "Usage", "Engine", "EngineConfig",
    "Answer", "Batched", "HttpSettings",
    # running agents: for the host
    "AgentContext", "CallOptions", "StateStore", "examine", "finish", "reconfigure", "read_settings", "RESERVED",
    "Interface", "Operation", "Subscription", "Timer",
    "compile_agent", "compile_operations", "compile_subscriptions", "compile_timers", "interface_of",
]
