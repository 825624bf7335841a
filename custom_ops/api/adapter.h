// The edge between ONNX Runtime's C interface and the nodes. Everything that ORT calls passes guarded() here, the one
// place where exceptions end.
#pragma once

#include <atomic>
#include <exception>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "api/group.h"
#include "api/ort_abi.h"
#include "ops/factories.h"
#include "ops/interface.h"
#include "state/error.h"

namespace rrm {

inline ort::OrtStatus* status_of(const ort::OrtApi& api, const std::exception_ptr& caught) noexcept {
  try {
    std::rethrow_exception(caught);
  } catch (const Error& e) {
    return api.CreateStatus(ort::kInvalidArgument, e.full());
  } catch (const std::bad_alloc&) {
    return api.CreateStatus(ort::kFail, "rrm: out of memory\nhint: use fewer streams or a smaller picture");
  } catch (const std::exception& e) {
    return api.CreateStatus(ort::kFail, e.what());
  } catch (...) {
    return api.CreateStatus(ort::kFail, "rrm: an unknown exception");
  }
}

// Runs body; what it throws becomes a status, null is success.
template <typename Body>
ort::OrtStatus* guarded(const ort::OrtApi& api, Body body) noexcept {
  try {
    body();
    return nullptr;
  } catch (...) {
    return status_of(api, std::current_exception());
  }
}

// Throws a failed status as an Error.
inline void check(const ort::OrtApi& api, ort::OrtStatus* status) {
  if (status == nullptr) return;
  const std::string text = api.GetErrorMessage(status);
  api.ReleaseStatus(status);
  throw Error(text);
}

Dense dense_of(const ort::OrtApi& api, const ort::OrtValue* value);

// Whether this runtime tells kernels the config entries of their session (1.24 on).
bool has_config_entries();

class OrtAttributes final : public Attributes {
 public:
  OrtAttributes(const ort::OrtApi& api, const ort::OrtKernelInfo* info) : api_(api), info_(info) {}
  std::string node_name() const override;
  int64_t integer(const char* name) const override;
  float real(const char* name) const override;
  std::string text(const char* name) const override;
  std::vector<int64_t> integers(const char* name) const override;
  std::vector<float> reals(const char* name) const override;
  Dense constant(size_t input) const override;

 private:
  const ort::OrtApi& api_;
  const ort::OrtKernelInfo* info_;
};

class OrtContext final : public Context {
 public:
  OrtContext(const ort::OrtApi& api, ort::OrtKernelContext* context) : api_(api), context_(context) {}
  size_t inputs() const override;
  Dense input(size_t i) override;
  float* output_f32(std::span<const int64_t> shape) override { return static_cast<float*>(output(0, shape)); }
  int64_t* output_i64(std::span<const int64_t> shape) override { return static_cast<int64_t*>(output(0, shape)); }
  void* output(size_t i, std::span<const int64_t> shape);
  void parallel(int32_t tasks, void (*body)(void*, int32_t), void* arg) override;

 private:
  const ort::OrtApi& api_;
  ort::OrtKernelContext* context_;
};

// An operator by its letters of ops.inc.
struct OperatorRow {
  const char* name;
  Factory factory;  // null: a Region, whose letter r is any number of any type
  const char* inputs;
  char output;
};
// By name; throws when there is none. (A region is none of a region's steps.)
const OperatorRow& operator_row(const std::string& name);

// One operator as ORT wants it described. `group` owns the nodes that are made of it.
struct Operator : ort::OrtCustomOp {
  Operator(const OperatorRow& row, Group& group);
  const OperatorRow row;
  Group& group;
};

}  // namespace rrm
