"""Warming: loading ahead what will be asked for."""

from velro_cache.warming.hot_keys import HotKeys
from velro_cache.warming.journal import HotKeyJournal
from velro_cache.warming.prediction import Predictor
from velro_cache.warming.prediction_limits import PredictionLimits
from velro_cache.warming.refresh import Refresher
from velro_cache.warming.report import Progress, WarmReport
from velro_cache.warming.warmers import Warmers

__all__ = [
    "HotKeyJournal",
    "HotKeys",
    "PredictionLimits",
    "Predictor",
    "Progress",
    "Refresher",
    "WarmReport",
    "Warmers",
]
