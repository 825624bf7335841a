// Compares ort_abi.h with the official header, where one is at hand: cmake -DRRM_ORT_INCLUDE_DIR=DIR (the directory
// that holds onnxruntime_c_api.h) defines RRM_CHECK_ORT_ABI. Without it this source is empty.
#ifdef RRM_CHECK_ORT_ABI

#include <onnxruntime_c_api.h>

#include <cstddef>

#include "api/ort_abi.h"

namespace {

namespace ours = rrm::ort;

#define RRM_SAME_SLOT(name) \
  static_assert(offsetof(::OrtApi, name) == offsetof(ours::OrtApi, name), "slot of OrtApi::" #name)
RRM_SAME_SLOT(CreateStatus);
RRM_SAME_SLOT(GetErrorCode);
RRM_SAME_SLOT(GetErrorMessage);
RRM_SAME_SLOT(CreateCustomOpDomain);
RRM_SAME_SLOT(CustomOpDomain_Add);
RRM_SAME_SLOT(AddCustomOpDomain);
RRM_SAME_SLOT(GetTensorMutableData);
RRM_SAME_SLOT(GetTensorElementType);
RRM_SAME_SLOT(GetDimensionsCount);
RRM_SAME_SLOT(GetDimensions);
RRM_SAME_SLOT(GetTensorShapeElementCount);
RRM_SAME_SLOT(GetTensorTypeAndShape);
RRM_SAME_SLOT(KernelInfoGetAttribute_float);
RRM_SAME_SLOT(KernelInfoGetAttribute_int64);
RRM_SAME_SLOT(KernelInfoGetAttribute_string);
RRM_SAME_SLOT(KernelContext_GetInputCount);
RRM_SAME_SLOT(KernelContext_GetOutputCount);
RRM_SAME_SLOT(KernelContext_GetInput);
RRM_SAME_SLOT(KernelContext_GetOutput);
RRM_SAME_SLOT(ReleaseStatus);
RRM_SAME_SLOT(ReleaseTensorTypeAndShapeInfo);
RRM_SAME_SLOT(ReleaseCustomOpDomain);
RRM_SAME_SLOT(AddSessionConfigEntry);
RRM_SAME_SLOT(KernelInfoGetAttributeArray_float);
RRM_SAME_SLOT(KernelInfoGetAttributeArray_int64);
RRM_SAME_SLOT(KernelInfo_GetInputCount);
RRM_SAME_SLOT(KernelInfo_GetOutputCount);
RRM_SAME_SLOT(HasSessionConfigEntry);
RRM_SAME_SLOT(GetSessionConfigEntry);
RRM_SAME_SLOT(KernelInfo_GetNodeName);
RRM_SAME_SLOT(KernelInfoGetConstantInput_tensor);
RRM_SAME_SLOT(KernelContext_ParallelFor);
#if ORT_API_VERSION >= 22
RRM_SAME_SLOT(GetKeyValue);
RRM_SAME_SLOT(ReleaseKeyValuePairs);
#endif
#if ORT_API_VERSION >= 24
RRM_SAME_SLOT(KernelInfo_GetConfigEntries);
#endif
#undef RRM_SAME_SLOT

#define RRM_SAME_MEMBER(name) \
  static_assert(offsetof(::OrtCustomOp, name) == offsetof(ours::OrtCustomOp, name), "OrtCustomOp::" #name)
RRM_SAME_MEMBER(version);
RRM_SAME_MEMBER(CreateKernel);
RRM_SAME_MEMBER(GetName);
RRM_SAME_MEMBER(GetExecutionProviderType);
RRM_SAME_MEMBER(GetInputType);
RRM_SAME_MEMBER(GetInputTypeCount);
RRM_SAME_MEMBER(GetOutputType);
RRM_SAME_MEMBER(GetOutputTypeCount);
RRM_SAME_MEMBER(KernelCompute);
RRM_SAME_MEMBER(KernelDestroy);
RRM_SAME_MEMBER(GetInputCharacteristic);
RRM_SAME_MEMBER(GetOutputCharacteristic);
RRM_SAME_MEMBER(GetInputMemoryType);
RRM_SAME_MEMBER(GetVariadicInputMinArity);
RRM_SAME_MEMBER(GetVariadicInputHomogeneity);
RRM_SAME_MEMBER(GetVariadicOutputMinArity);
RRM_SAME_MEMBER(GetVariadicOutputHomogeneity);
RRM_SAME_MEMBER(CreateKernelV2);
RRM_SAME_MEMBER(KernelComputeV2);
RRM_SAME_MEMBER(InferOutputShapeFn);
RRM_SAME_MEMBER(GetStartVersion);
RRM_SAME_MEMBER(GetEndVersion);
#undef RRM_SAME_MEMBER

static_assert(offsetof(::OrtApiBase, GetApi) == offsetof(ours::OrtApiBase, GetApi));
static_assert(offsetof(::OrtApiBase, GetVersionString) == offsetof(ours::OrtApiBase, GetVersionString));

static_assert(int{::ORT_FAIL} == int{ours::kFail} && int{::ORT_INVALID_ARGUMENT} == int{ours::kInvalidArgument});
static_assert(int{::ORT_RUNTIME_EXCEPTION} == int{ours::kRuntimeException} && int{::ORT_EP_FAIL} == int{ours::kEpFail});
static_assert(int{::ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED} == int{ours::kUndefined});
static_assert(int{::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT} == int{ours::kFloat});
static_assert(int{::ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8} == int{ours::kUint8});
static_assert(int{::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64} == int{ours::kInt64});
static_assert(int{::ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL} == int{ours::kBool});
static_assert(int{::ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16} == int{ours::kBfloat16});
static_assert(int{::INPUT_OUTPUT_VARIADIC} == int{ours::kVariadic});
static_assert(int{::OrtMemTypeCPUInput} == int{ours::kMemCpuInput} && int{::OrtMemTypeDefault} == ours::kMemDefault);

}  // namespace

#endif  // RRM_CHECK_ORT_ABI
