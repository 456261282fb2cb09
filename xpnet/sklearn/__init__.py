"""Estimators for scikit-learn: networks that work in its pipelines, searches and scores.

They need scikit-learn 1.6 or later: `pip install '.[sklearn]'`. Without it, the import raises ImportError.
"""

try:
    from sklearn.utils.validation import validate_data  # noqa: F401, which scikit-learn 1.6 brought
except ImportError as error:
    raise ImportError(
        "xpnet.sklearn: expected scikit-learn 1.6 or later; pip install 'scikit-learn>=1.6'"
    ) from error

from xpnet.sklearn.classifier import XPNetClassifier
from xpnet.sklearn.regressor import XPNetRegressor

__all__ = ["XPNetClassifier", "XPNetRegressor"]
