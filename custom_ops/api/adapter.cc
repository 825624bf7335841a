#include "api/adapter.h"

#include "api/region.h"

#include <cstring>

namespace rrm {
namespace {

Dtype dtype_of(ort::ONNXTensorElementDataType type) {
  switch (type) {
    case ort::kFloat:
      return Dtype::kFloat;
    case ort::kUint8:
      return Dtype::kUint8;
    case ort::kInt64:
      return Dtype::kInt64;
    case ort::kBool:
      return Dtype::kBool;
    default:
      return Dtype::kOther;
  }
}

ort::ONNXTensorElementDataType type_of(char letter) {
  switch (letter) {
    case 'f':
      return ort::kFloat;
    case 'b':
      return ort::kBool;
    case 'x':
    case 'r':
      return ort::kUndefined;  // any; Enter looks at the type when it runs
    default:
      return ort::kInt64;
  }
}

// What ORT holds for each node of a session.
struct Kernel {
  Kernel(const ort::OrtApi& api_, Group& group_, std::unique_ptr<Node> node_)
      : api(api_), group(group_), node(std::move(node_)) {
    group.add(node.get());
  }
  ~Kernel() { group.remove(node.get()); }
  Kernel(const Kernel&) = delete;
  Kernel& operator=(const Kernel&) = delete;

  const ort::OrtApi& api;
  Group& group;
  const std::unique_ptr<Node> node;
};

const Operator& self(const ort::OrtCustomOp* op) { return *static_cast<const Operator*>(op); }

ort::OrtStatus* create_kernel(const ort::OrtCustomOp* op, const ort::OrtApi* api, const ort::OrtKernelInfo* info,
                              void** kernel) noexcept {
  return guarded(*api, [&] {
    const OrtAttributes attributes(*api, info);
    Group& group = self(op).group;
    const Kernels& kernels = session_kernels(*api, info, group);
    const FlushDenormals flush;
    std::unique_ptr<Node> node = self(op).factory(attributes, kernels);
    node->set_op(self(op).name);
    *kernel = new Kernel(*api, group, std::move(node));
  });
}

ort::OrtStatus* compute(void* kernel, ort::OrtKernelContext* context) noexcept {
  auto& k = *static_cast<Kernel*>(kernel);
  return guarded(k.api, [&] {
    OrtContext c(k.api, context);
    k.node->run(c);
  });
}

ort::OrtStatus* create_region(const ort::OrtCustomOp* op, const ort::OrtApi* api, const ort::OrtKernelInfo* info,
                              void** region) noexcept {
  return guarded(*api, [&] {
    Group& group = self(op).group;
    const Kernels& kernels = session_kernels(*api, info, group);
    const FlushDenormals flush;
    *region = new Region(*api, info, group, kernels);
  });
}

ort::OrtStatus* compute_region(void* region, ort::OrtKernelContext* context) noexcept {
  auto& r = *static_cast<Region*>(region);
  return guarded(r.api(), [&] { r.run(context); });
}

bool variadic(char letter) { return letter == 'v' || letter == 'r'; }

}  // namespace

// Only newer runtimes tell a kernel the entries of its session; the registration has seen those made before it.
const Kernels& session_kernels(const ort::OrtApi& api, const ort::OrtKernelInfo* info, Group& group) {
  if (!has_config_entries()) return group.kernels();
  ort::OrtKeyValuePairs* entries = nullptr;
  check(api, api.KernelInfo_GetConfigEntries(info, &entries));
  const char* value = api.GetKeyValue(entries, "rrm.isa");
  const std::string level = value == nullptr ? "" : value;
  api.ReleaseKeyValuePairs(entries);
  return level.empty() ? group.kernels() : choose_kernels(level.c_str());
}

Dense dense_of(const ort::OrtApi& api, const ort::OrtValue* value) {
  ort::OrtTensorTypeAndShapeInfo* info = nullptr;
  check(api, api.GetTensorTypeAndShape(value, &info));
  const std::unique_ptr<ort::OrtTensorTypeAndShapeInfo, void (*)(ort::OrtTensorTypeAndShapeInfo*)> owned(
      info, api.ReleaseTensorTypeAndShapeInfo);
  Dense d;
  ort::ONNXTensorElementDataType type = ort::kUndefined;
  check(api, api.GetTensorElementType(info, &type));
  d.dtype = dtype_of(type);
  size_t rank = 0;
  check(api, api.GetDimensionsCount(info, &rank));
  d.shape.resize(rank);
  check(api, api.GetDimensions(info, d.shape.data(), rank));
  void* data = nullptr;
  check(api, api.GetTensorMutableData(const_cast<ort::OrtValue*>(value), &data));  // the only way to read, too
  d.data = data;
  return d;
}

std::string OrtAttributes::node_name() const {
  size_t size = 0;
  check(api_, api_.KernelInfo_GetNodeName(info_, nullptr, &size));
  std::string s(size, '\0');
  check(api_, api_.KernelInfo_GetNodeName(info_, s.data(), &size));
  s.resize(size == 0 ? 0 : size - 1);
  return s;
}

int64_t OrtAttributes::integer(const char* name) const {
  int64_t v = 0;
  check(api_, api_.KernelInfoGetAttribute_int64(info_, name, &v));
  return v;
}

float OrtAttributes::real(const char* name) const {
  float v = 0;
  check(api_, api_.KernelInfoGetAttribute_float(info_, name, &v));
  return v;
}

std::string OrtAttributes::text(const char* name) const {
  size_t size = 0;
  check(api_, api_.KernelInfoGetAttribute_string(info_, name, nullptr, &size));
  std::string s(size, '\0');
  check(api_, api_.KernelInfoGetAttribute_string(info_, name, s.data(), &size));
  s.resize(size == 0 ? 0 : size - 1);
  return s;
}

std::vector<int64_t> OrtAttributes::integers(const char* name) const {
  size_t size = 0;
  check(api_, api_.KernelInfoGetAttributeArray_int64(info_, name, nullptr, &size));
  std::vector<int64_t> v(size);
  if (size > 0) check(api_, api_.KernelInfoGetAttributeArray_int64(info_, name, v.data(), &size));
  return v;
}

std::vector<float> OrtAttributes::reals(const char* name) const {
  size_t size = 0;
  check(api_, api_.KernelInfoGetAttributeArray_float(info_, name, nullptr, &size));
  std::vector<float> v(size);
  if (size > 0) check(api_, api_.KernelInfoGetAttributeArray_float(info_, name, v.data(), &size));
  return v;
}

Dense OrtAttributes::constant(size_t input) const {
  int constant = 0;
  const ort::OrtValue* value = nullptr;
  check(api_, api_.KernelInfoGetConstantInput_tensor(info_, input, &constant, &value));
  if (constant == 0 || value == nullptr) {
    throw Error("rrm node '" + node_name() + "': input " + std::to_string(input) + " is not an initializer",
                "weights have to be initializers; convert the model again");
  }
  return dense_of(api_, value);
}

size_t OrtContext::inputs() const {
  size_t n = 0;
  check(api_, api_.KernelContext_GetInputCount(context_, &n));
  return n;
}

Dense OrtContext::input(size_t i) {
  const ort::OrtValue* value = nullptr;
  check(api_, api_.KernelContext_GetInput(context_, i, &value));
  if (value == nullptr) throw Error("rrm: an input is missing");
  return dense_of(api_, value);
}

void* OrtContext::output(size_t i, std::span<const int64_t> shape) {
  ort::OrtValue* value = nullptr;
  check(api_, api_.KernelContext_GetOutput(context_, i, shape.data(), shape.size(), &value));
  if (value == nullptr) throw Error("rrm: an output is missing");
  void* data = nullptr;
  check(api_, api_.GetTensorMutableData(value, &data));
  return data;
}

void OrtContext::parallel(int32_t tasks, void (*body)(void*, int32_t), void* arg) {
  struct Job {
    void (*body)(void*, int32_t);
    void* arg;
    std::atomic<bool> failed{false};
    std::exception_ptr first;
  } job{body, arg, {}, {}};
  const auto task = [](void* user, size_t i) noexcept {
    auto& j = *static_cast<Job*>(user);
    try {
      j.body(j.arg, static_cast<int32_t>(i));
    } catch (...) {
      if (!j.failed.exchange(true)) j.first = std::current_exception();
    }
  };
  check(api_, api_.KernelContext_ParallelFor(context_, task, static_cast<size_t>(tasks), 0, &job));
  if (job.failed) std::rethrow_exception(job.first);
}

Operator::Operator(const char* name_, Factory factory_, const char* inputs_, char output_, Group& group_)
    : ort::OrtCustomOp{}, name(name_), factory(factory_), inputs(inputs_), output(output_), group(group_) {
  using Op = ort::OrtCustomOp;
  version = ort::kApiVersion;
  GetName = [](const Op* op) { return self(op).name; };
  GetExecutionProviderType = [](const Op*) -> const char* { return nullptr; };
  GetInputType = [](const Op* op, size_t i) { return type_of(self(op).inputs[i]); };
  GetInputTypeCount = [](const Op* op) { return self(op).inputs.size(); };
  GetOutputType = [](const Op* op, size_t) { return type_of(self(op).output); };
  GetOutputTypeCount = [](const Op*) -> size_t { return 1; };
  KernelDestroy = [](void* kernel) { delete static_cast<Kernel*>(kernel); };
  GetInputCharacteristic = [](const Op* op, size_t i) {
    return variadic(self(op).inputs[i]) ? ort::kVariadic : ort::kRequired;
  };
  GetOutputCharacteristic = [](const Op* op, size_t) {
    return variadic(self(op).output) ? ort::kVariadic : ort::kRequired;
  };
  GetInputMemoryType = [](const Op*, size_t) { return ort::kMemDefault; };
  GetVariadicInputMinArity = [](const Op*) { return 1; };
  GetVariadicInputHomogeneity = [](const Op* op) { return self(op).inputs[0] == 'r' ? 0 : 1; };
  GetVariadicOutputMinArity = [](const Op*) { return 1; };
  GetVariadicOutputHomogeneity = [](const Op* op) { return self(op).output == 'r' ? 0 : 1; };
  CreateKernelV2 = create_kernel;
  KernelComputeV2 = compute;
  GetStartVersion = [](const Op*) { return 1; };
  GetEndVersion = [](const Op*) { return 1 << 20; };
}

Operator Operator::region(Group& group) {
  Operator op("Region", nullptr, "r", 'r', group);
  op.KernelDestroy = [](void* region) { delete static_cast<Region*>(region); };
  op.CreateKernelV2 = create_region;
  op.KernelComputeV2 = compute_region;
  return op;
}

}  // namespace rrm
