"""Small graphs built as the networks of known families are, with random weights: what people bring, spelled as their
exporters spell it. test_families.py converts and runs each; docs/coverage.py lists them."""

from families.classify import CLASSIFIERS
from families.layers import Family

FAMILIES: list[Family] = [*CLASSIFIERS]

__all__ = ["FAMILIES", "Family"]
