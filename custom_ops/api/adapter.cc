#include "api/adapter.h"

#include <cstring>

#include "api/region.h"

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

const Operator& self(const ort::OrtCustomOp* op) { return *static_cast<const Operator*>(op); }

// What ORT holds for each node of a session.
class Kernel {
 public:
  Kernel(const ort::OrtApi& api, const ort::OrtKernelInfo* info, const Operator& op, const Kernels& kernels)
      : group_(op.group), node_(op.row.factory(OrtAttributes(api, info), kernels)) {
    node_->set_op(op.row.name);
    group_.nodes.add(node_.get());
  }
  ~Kernel() { group_.nodes.remove(node_.get()); }
  Kernel(const Kernel&) = delete;
  Kernel& operator=(const Kernel&) = delete;
  void run(OrtContext& context) { node_->run(context); }

 private:
  Group& group_;
  const std::unique_ptr<Node> node_;
};

// The level that the session, its registration or the environment asks for. Only newer runtimes tell a kernel the
// entries of its session; the registration has seen those made before it.
const Kernels& session_kernels(const ort::OrtApi& api, const ort::OrtKernelInfo* info, const Group& group) {
  if (!has_config_entries()) return group.kernels();
  ort::OrtKeyValuePairs* entries = nullptr;
  check(api, api.KernelInfo_GetConfigEntries(info, &entries));
  const char* value = api.GetKeyValue(entries, "rrm.isa");
  const std::string level = value == nullptr ? "" : value;
  api.ReleaseKeyValuePairs(entries);
  return level.empty() ? group.kernels() : choose_kernels(level.c_str());
}

// A Kernel or a Region, and what it needs to answer ORT.
template <typename T>
struct Held {
  Held(const ort::OrtApi& api_, const ort::OrtKernelInfo* info, const Operator& op)
      : api(api_), it(api_, info, op, session_kernels(api_, info, op.group)) {}
  const ort::OrtApi& api;
  T it;
};

template <typename T>
void set_kernel(Operator& op) {
  op.CreateKernelV2 = [](const ort::OrtCustomOp* o, const ort::OrtApi* api, const ort::OrtKernelInfo* info,
                         void** held) -> ort::OrtStatus* {
    return guarded(*api, [&] {
      const FlushDenormals flush;
      *held = new Held<T>(*api, info, self(o));
    });
  };
  op.KernelComputeV2 = [](void* held, ort::OrtKernelContext* context) -> ort::OrtStatus* {
    auto& h = *static_cast<Held<T>*>(held);
    return guarded(h.api, [&] {
      OrtContext c(h.api, context);
      h.it.run(c);
    });
  };
  op.KernelDestroy = [](void* held) { delete static_cast<Held<T>*>(held); };
}

bool variadic(char letter) { return letter == 'v' || letter == 'r'; }

}  // namespace

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

Operator::Operator(const OperatorRow& row_, Group& group_) : ort::OrtCustomOp{}, row(row_), group(group_) {
  using Op = ort::OrtCustomOp;
  version = ort::kApiVersion;
  GetName = [](const Op* op) { return self(op).row.name; };
  GetExecutionProviderType = [](const Op*) -> const char* { return nullptr; };
  GetInputType = [](const Op* op, size_t i) { return type_of(self(op).row.inputs[i]); };
  GetInputTypeCount = [](const Op* op) { return std::strlen(self(op).row.inputs); };
  GetOutputType = [](const Op* op, size_t) { return type_of(self(op).row.output); };
  GetOutputTypeCount = [](const Op*) -> size_t { return 1; };
  GetInputCharacteristic = [](const Op* op, size_t i) {
    return variadic(self(op).row.inputs[i]) ? ort::kVariadic : ort::kRequired;
  };
  GetOutputCharacteristic = [](const Op* op, size_t) {
    return variadic(self(op).row.output) ? ort::kVariadic : ort::kRequired;
  };
  GetInputMemoryType = [](const Op*, size_t) { return ort::kMemDefault; };
  GetVariadicInputMinArity = [](const Op*) { return 1; };
  GetVariadicInputHomogeneity = [](const Op* op) { return self(op).row.inputs[0] == 'r' ? 0 : 1; };
  GetVariadicOutputMinArity = [](const Op*) { return 1; };
  GetVariadicOutputHomogeneity = [](const Op* op) { return self(op).row.output == 'r' ? 0 : 1; };
  GetStartVersion = [](const Op*) { return 1; };
  GetEndVersion = [](const Op*) { return 1 << 20; };
  if (row.factory != nullptr) {
    set_kernel<Kernel>(*this);
  } else {
    set_kernel<Region>(*this);
  }
}

}  // namespace rrm
