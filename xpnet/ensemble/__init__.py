"""Many networks at once: `Ensemble`, and what its methods return."""

from xpnet.ensemble.ensemble import Ensemble
from xpnet.ensemble.history import EnsembleEvaluation, EnsembleHistory, NetworksMetrics

__all__ = ["Ensemble", "EnsembleEvaluation", "EnsembleHistory", "NetworksMetrics"]
