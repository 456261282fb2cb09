"""Estimators for scikit-learn: networks that work in its pipelines, searches and scores.

They need scikit-learn 1.6 or later: `pip install 'xpnet[sklearn]'`.
"""

from xpnet.errors import ConfigError

try:
    import sklearn.utils.validation
except ImportError as error:
    raise ConfigError("xpnet.sklearn: scikit-learn is not installed; pip install 'xpnet[sklearn]'") from error
if not hasattr(sklearn.utils.validation, "validate_data"):
    raise ConfigError(
        f"xpnet.sklearn: expected scikit-learn 1.6 or later, got {sklearn.__version__}; "
        "pip install 'xpnet[sklearn]'"
    )

from xpnet.sklearn.classifier import XPNetClassifier
from xpnet.sklearn.regressor import XPNetRegressor

__all__ = ["XPNetClassifier", "XPNetRegressor"]
