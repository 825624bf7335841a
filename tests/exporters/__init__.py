"""Small graphs spelled as exporters spell them, each named by the exporter and by what makes it special.

What the families (tests/families) have already is not here again: BatchNormalization in the graph, weights as inputs,
NHWC with SAME padding, hard swish in four operators, shuffles and sizes with computed shapes, C2f and SPPF and DFL.
"""

from families.layers import Family

from exporters.other import OTHER
from exporters.tensorflow import TENSORFLOW
from exporters.torch_dynamo import DYNAMO
from exporters.torch_script import SCRIPT

EXPORTS: list[Family] = [*SCRIPT, *DYNAMO, *TENSORFLOW, *OTHER]

__all__ = ["EXPORTS"]
