"""What to say of operations that the engine has not."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["refusal"]

_CLAMPS = "ReLU, ReLU6 and Hardtanh run on it"
_NORMS = "batch norm runs on it"
_LAST = "it runs on the host, at the very end of a network only"
_FIXED = "every picture goes the same way through it, with the same weights"
_SCALES = "maps can be scaled, moved and added, by constants for each channel"
_POOLS = "max pooling and average pooling run on it"

_GROUPS: tuple[tuple[str, str], ...] = (
    (
        "silu=SiLU gelu=GELU elu=ELU selu=SELU celu=CELU leaky_relu=LeakyReLU prelu=PReLU "
        "rrelu=RReLU hardswish=Hardswish hardsigmoid=Hardsigmoid mish=Mish softplus=Softplus "
        "tanh=Tanh softsign=Softsign hardshrink=Hardshrink softshrink=Softshrink glu=GLU "
        "log_sigmoid=LogSigmoid threshold=Threshold",
        _CLAMPS,
    ),
    (
        "layer_norm=LayerNorm group_norm=GroupNorm instance_norm=InstanceNorm rms_norm=RMSNorm "
        "native_layer_norm=LayerNorm native_group_norm=GroupNorm linalg_vector_norm=norm",
        _NORMS,
    ),
    ("softmax= log_softmax= sigmoid= argmax=", _LAST),
    (
        "quantize_linear=QuantizeLinear dequantize_linear=DequantizeLinear "
        "q_linear_conv=QLinearConv conv_integer=ConvInteger mat_mul_integer=MatMulInteger",
        "it rounds by itself: give the network in floating point",
    ),
    ("if= loop= scan=", "it does the same for every picture, without control flow"),
    (
        "conv_transpose1d= conv_transpose2d= conv_transpose3d= conv3d= "
        "conv_transpose=ConvTranspose "
        "resize=Resize upsample=Upsample depth_to_space=DepthToSpace upsample_nearest2d= "
        "upsample_bilinear2d= upsample_bicubic2d= pixel_shuffle= max_unpool2d=",
        "convolutions in one and two dimensions run on it",
    ),
    (
        "max_pool3d= avg_pool3d= adaptive_avg_pool3d= lp_pool2d= amax=maximum_over_axes amin= max= "
        "min= fractional_max_pool2d= topk= sort=",
        _POOLS,
    ),
    (
        "lstm=LSTM gru=GRU rnn_tanh=RNN rnn_relu=RNN embedding= scaled_dot_product_attention= "
        "bmm= einsum= matmul= mm= addmm= baddbmm= bilinear= index= gather= scatter= where= "
        "masked_fill= nonzero= item= cond= while_loop= _local_scalar_dense=item",
        _FIXED,
    ),
    (
        "exp= log= sqrt= rsqrt= pow= abs= reciprocal= sin= cos= square= sign= floor= round= "
        "remainder= mul= div= var= std= cumsum= prod= logsumexp= eq= gt= lt= ge= le=",
        _SCALES,
    ),
    ("flip= roll= repeat= tile= expand= repeat_interleave= unfold= im2col= rot90=", _SCALES),
    (
        "wrap_with_autocast=autocast wrap_with_set_grad_enabled=set_grad_enabled",
        "leave it out of forward: the engine has integers, and no gradients",
    ),
)


def _entries(names: str) -> Iterable[tuple[str, str]]:
    for entry in names.split():
        name, _, shown = entry.partition("=")
        yield name, (shown or name).replace("_over_", " over ")


_TABLE = {
    name.replace("_", ""): (shown, instead)
    for names, instead in _GROUPS
    for name, shown in _entries(names)
}


def refusal(operation: str) -> str:
    """What is missing and what would do: `the engine has no SiLU; ReLU, ReLU6 and Hardtanh run on
    it`.  `operation` is an operator of ATen, with or without its overload ("silu_.default"), or
    one of ONNX ("HardSwish")."""
    name = operation.removeprefix("aten.").partition(".")[0]
    shown, instead = _TABLE.get(name.replace("_", "").lower(), (name.strip("_"), ""))
    if not instead:
        instead = (
            "convolution, linear, batch norm, pooling, addition, concatenation and clamps run on it"
        )
    return f"the engine has no {shown}; {instead}"
