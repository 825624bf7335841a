"""The one list of rules: which rule reads which ONNX operator."""

from __future__ import annotations

from collections.abc import Mapping

from rrm_onnx.ops.activation import ActivationRule
from rrm_onnx.ops.arg_max import ArgMaxRule
from rrm_onnx.ops.base import OpRule
from rrm_onnx.ops.channel_reduce import ChannelReduceRule
from rrm_onnx.ops.conv import ConvRule
from rrm_onnx.ops.conv_transpose import ConvTransposeRule
from rrm_onnx.ops.elementwise import BinaryRule
from rrm_onnx.ops.global_pool import GlobalPoolRule
from rrm_onnx.ops.instance_norm import InstanceNormRule
from rrm_onnx.ops.layer_norm import LayerNormRule
from rrm_onnx.ops.lrn import LrnRule
from rrm_onnx.ops.pad import PadRule
from rrm_onnx.ops.pool import PoolRule
from rrm_onnx.ops.resize import ResizeRule
from rrm_onnx.ops.shape import ShapeRule
from rrm_onnx.ops.shuffle import DepthToSpaceRule, GatherRule, ReshapeRule, SpaceToDepthRule
from rrm_onnx.ops.softmax import SoftmaxRule
from rrm_onnx.ops.views import ConcatRule, SliceRule, SplitRule

ALL: tuple[OpRule, ...] = (
    ConvRule(),
    ConvTransposeRule(),
    ActivationRule(),
    BinaryRule(),
    ConcatRule(),
    SliceRule(),
    SplitRule(),
    PoolRule(),
    GlobalPoolRule(),
    SoftmaxRule(),
    LayerNormRule(),
    InstanceNormRule(),
    LrnRule(),
    ArgMaxRule(),
    ChannelReduceRule(),
    ResizeRule(),
    GatherRule(),
    ReshapeRule(),
    SpaceToDepthRule(),
    DepthToSpaceRule(),
    PadRule(),
    ShapeRule(),
)

RULES: Mapping[str, OpRule] = {op_type: rule for rule in ALL for op_type in rule.op_types}
