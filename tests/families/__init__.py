"""Small graphs built as the networks of known families are, with random weights: what people bring, spelled as their
exporters spell it. test_families.py converts and runs each; docs/coverage.py lists them."""

from families.classify import CLASSIFIERS
from families.detect import DETECTORS
from families.layers import Family
from families.segment import SEGMENTERS
from families.structure import STRUCTURES

FAMILIES: list[Family] = [*CLASSIFIERS, *DETECTORS, *SEGMENTERS, *STRUCTURES]

__all__ = ["FAMILIES", "Family"]
