"""How relevance passes each kind of TensorFlow operation: the tables that a network is read by.

An operation that is in none of them is an error where relevance reaches it, and only there. To
explain a new kind is to enter it here.
"""

from __future__ import annotations

from typing import NamedTuple

from kerasgan.models.ranges import MOVES


class Operands(NamedTuple):
    """Where an operation with weights has what.

    Attributes:
        data: Which of its inputs holds what the weights are applied to.
        kernel: Which holds the weights.
        channels: Which axis of the kernel is that of the outputs; None where it has none of its
            own (depthwise: the last two; einsum: by its letters).
    """

    data: int
    kernel: int
    channels: int | None


WEIGHTED = {
    "BatchMatMulV2": Operands(0, 1, -1),
    "BatchMatMulV3": Operands(0, 1, -1),
    "Conv2D": Operands(0, 1, -1),
    "Conv2DBackpropInput": Operands(2, 1, 2),
    "Conv3D": Operands(0, 1, -1),
    "Conv3DBackpropInputV2": Operands(2, 1, 3),
    "DepthwiseConv2dNative": Operands(0, 1, None),
    "Einsum": Operands(0, 1, None),
    "MatMul": Operands(0, 1, -1),
}
"""Linear in the image, with weights: the rule of the composite applies."""

MIXING = {"BatchMatMulV2", "BatchMatMulV3", "Einsum", "MatMul"}
"""Of these, what is a product of matrices where both depend on the image."""

AFFINE = {"Add", "AddV2", "BiasAdd", "DivNoNan", "Mul", "Neg", "RealDiv", "Sub"}
"""Scale or shift, where the other operand does not depend on the image."""

SCALING = {"DivNoNan", "Mul", "RealDiv"}
"""Scale alone; where both operands depend on the image, products and quotients."""

NORMALISING = {"FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3"}
"""Scale and shift at inference; called in training mode, a layer normalization."""

ROUTED = MOVES | {
    "Cast",
    "ConcatV2",
    "Diag",
    "ExtractImagePatches",
    "GatherNd",
    "Pack",
    "Pad",
    "PadV2",
    "Reverse",
    "SpaceToBatchND",
}
"""Every output is one input's value: relevance goes back to where the value came from."""

PADDING = {"Pad", "PadV2", "SpaceToBatchND"}
"""Of these, what puts numbers beside the values."""

PROPORTIONAL = {
    "AddN",
    "AvgPool",
    "AvgPool3D",
    "Cumsum",
    "Mean",
    "ResizeArea",
    "ResizeBicubic",
    "ResizeBilinear",
    "ScaleAndTranslate",
    "SegmentSum",
    "Sum",
    "UnsortedSegmentSum",
}
"""Linear without weights: every input receives in proportion to what it contributed."""

WINNER = {"Max", "MaxPool", "MaxPool3D", "MaxPoolV2", "Maximum", "Min", "Minimum", "Select"}
WINNER |= {"SelectV2", "TopKV2"}
"""Every output is the largest, the smallest or the chosen one of its inputs."""

ACTIVATIONS = {
    "Elu",
    "LeakyRelu",
    "LogSoftmax",
    "Relu",
    "Relu6",
    "Selu",
    "Sigmoid",
    "Softplus",
    "Softsign",
    "Tanh",
}
ELEMENTWISE = ACTIVATIONS | {
    "Abs",
    "Acosh",
    "Asinh",
    "Atan",
    "ClipByValue",
    "Cos",
    "Cosh",
    "Erf",
    "Erfc",
    "Exp",
    "Expm1",
    "Inv",
    "Log",
    "Log1p",
    "Reciprocal",
    "Rsqrt",
    "Sin",
    "Sinh",
    "Sqrt",
    "Square",
}
"""A function of one number: relevance passes as it is."""

BOTH = {"Add", "AddV2", "DivNoNan", "Maximum", "Minimum", "Mul", "Pow", "RealDiv", "SelectV2"}
BOTH |= {"SquaredDifference", "Sub"}
"""Of two numbers; where both are functions of one number, so is this."""

COMPARISONS = {"Equal", "Greater", "GreaterEqual", "Less", "LessEqual", "NotEqual"}

STATISTICS = {"Inv", "Reciprocal", "Rsqrt", "Sqrt"}
"""What makes the scale of a normalization of a sum of squares."""

LISTS = {"AddN", "ConcatV2", "Einsum", "Pack"}
"""Operations whose first argument is a list of tensors."""
