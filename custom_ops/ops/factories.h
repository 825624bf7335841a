// How each operator's node is made. One line here, one in api/ops.inc.
#pragma once

#include <memory>

#include "ops/node.h"

namespace rrm {

using Factory = std::unique_ptr<Node> (*)(const Attributes& attributes, const Kernels& kernels);

std::unique_ptr<Node> make_enter(const Attributes& attributes, const Kernels& kernels);
std::unique_ptr<Node> make_enter_stream(const Attributes& attributes, const Kernels& kernels);
std::unique_ptr<Node> make_exit(const Attributes& attributes, const Kernels& kernels);
std::unique_ptr<Node> make_shape(const Attributes& attributes, const Kernels& kernels);
std::unique_ptr<Node> make_conv(const Attributes& attributes, const Kernels& kernels);
std::unique_ptr<Node> make_conv_add(const Attributes& attributes, const Kernels& kernels);
std::unique_ptr<Node> make_separable_conv(const Attributes& attributes, const Kernels& kernels);
std::unique_ptr<Node> make_separable_conv_add(const Attributes& attributes, const Kernels& kernels);
std::unique_ptr<Node> make_conv_transpose(const Attributes& attributes, const Kernels& kernels);
std::unique_ptr<Node> make_activation(const Attributes& attributes, const Kernels& kernels);
std::unique_ptr<Node> make_binary(const Attributes& attributes, const Kernels& kernels);
std::unique_ptr<Node> make_binary_const(const Attributes& attributes, const Kernels& kernels);
std::unique_ptr<Node> make_concat(const Attributes& attributes, const Kernels& kernels);
std::unique_ptr<Node> make_slice(const Attributes& attributes, const Kernels& kernels);
std::unique_ptr<Node> make_channel_ranges(const Attributes& attributes, const Kernels& kernels);
std::unique_ptr<Node> make_gather(const Attributes& attributes, const Kernels& kernels);
std::unique_ptr<Node> make_max_pool(const Attributes& attributes, const Kernels& kernels);
std::unique_ptr<Node> make_average_pool(const Attributes& attributes, const Kernels& kernels);
std::unique_ptr<Node> make_global_average_pool(const Attributes& attributes, const Kernels& kernels);
std::unique_ptr<Node> make_global_max_pool(const Attributes& attributes, const Kernels& kernels);
std::unique_ptr<Node> make_softmax(const Attributes& attributes, const Kernels& kernels);
std::unique_ptr<Node> make_layer_norm(const Attributes& attributes, const Kernels& kernels);
std::unique_ptr<Node> make_lrn(const Attributes& attributes, const Kernels& kernels);
std::unique_ptr<Node> make_arg_max(const Attributes& attributes, const Kernels& kernels);
std::unique_ptr<Node> make_channel_reduce(const Attributes& attributes, const Kernels& kernels);
std::unique_ptr<Node> make_resize(const Attributes& attributes, const Kernels& kernels);
std::unique_ptr<Node> make_resize_like(const Attributes& attributes, const Kernels& kernels);
std::unique_ptr<Node> make_space_to_depth(const Attributes& attributes, const Kernels& kernels);
std::unique_ptr<Node> make_depth_to_space(const Attributes& attributes, const Kernels& kernels);
std::unique_ptr<Node> make_pad(const Attributes& attributes, const Kernels& kernels);
std::unique_ptr<Node> make_pad_like(const Attributes& attributes, const Kernels& kernels);

}  // namespace rrm
