"""Models of the agents of one process: loaded once, held within a budget, asked in batches."""

from mesh.models.batched import Batched
from mesh.models.ledger import Ledger, Model
from mesh.models.queue import BatchQueue
from mesh.models.shelf import AgentModels, Shelf

__all__ = ["AgentModels", "BatchQueue", "Batched", "Ledger", "Model", "Shelf"]
