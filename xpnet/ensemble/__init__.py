"""Many networks at once: `Ensemble`, and what its methods return."""

from xpnet.ensemble.ensemble import Ensemble, EnsembleEvaluation
from xpnet.ensemble.history import EnsembleHistory, NetworksMetrics

__all__ = ["Ensemble", "EnsembleEvaluation", "EnsembleHistory", "NetworksMetrics"]
