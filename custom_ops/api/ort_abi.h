// The part of ONNX Runtime's C interface that this library uses, declared by ourselves: the onnxruntime wheel ships no
// headers, and the library must build without them.
//
// Names are those of the official interface, inside namespace rrm::ort (so that both can be compared in one source,
// see ort_abi_check.cc). ORT's function table is append-only: a slot keeps its index and its signature for ever, so
// one binary serves every runtime from kMinRuntimeMinor on. Slots above those of kApiVersion may be absent in an older
// runtime: check runtime_minor() before reading them, the table simply ends earlier there.
#pragma once

#include <cstddef>
#include <cstdint>

namespace rrm::ort {

// What we ask GetApi for and write into OrtCustomOp::version. Runtimes refuse a custom op whose version is above their
// own, so this is the oldest runtime that we support, not the newest.
inline constexpr uint32_t kApiVersion = 17;
inline constexpr int kMinRuntimeMinor = 17;
// KernelInfo_GetConfigEntries and its key-value pairs are usable from 1.24 on.
inline constexpr int kConfigEntriesMinor = 24;

struct OrtStatus;  // a null pointer means success
struct OrtSessionOptions;
struct OrtCustomOpDomain;
struct OrtKernelInfo;
struct OrtKernelContext;
struct OrtValue;
struct OrtTensorTypeAndShapeInfo;
struct OrtShapeInferContext;
struct OrtKeyValuePairs;
struct OrtApi;
struct OrtCustomOp;

enum OrtErrorCode : int {
  kOk = 0,
  kFail = 1,
  kInvalidArgument = 2,
  kNoSuchFile = 3,
  kNoModel = 4,
  kEngineError = 5,
  kRuntimeException = 6,
  kInvalidProtobuf = 7,
  kModelLoaded = 8,
  kNotImplemented = 9,
  kInvalidGraph = 10,
  kEpFail = 11,
};

enum ONNXTensorElementDataType : int {
  kUndefined = 0,
  kFloat = 1,
  kUint8 = 2,
  kInt8 = 3,
  kUint16 = 4,
  kInt16 = 5,
  kInt32 = 6,
  kInt64 = 7,
  kString = 8,
  kBool = 9,
  kFloat16 = 10,
  kDouble = 11,
  kUint32 = 12,
  kUint64 = 13,
  kComplex64 = 14,
  kComplex128 = 15,
  kBfloat16 = 16,
};

enum OrtCustomOpInputOutputCharacteristic : int {
  kRequired = 0,
  kOptional = 1,
  kVariadic = 2,
};

enum OrtMemType : int {
  kMemCpuInput = -2,
  kMemCpuOutput = -1,
  kMemDefault = 0,
};

struct OrtApiBase {
  // Null when the runtime is older than `version` (it then also prints a line to stderr).
  const OrtApi* (*GetApi)(uint32_t version);
  const char* (*GetVersionString)();
};

// One custom operator, as of API version 17. ORT keeps the pointer for as long as the domain lives.
struct OrtCustomOp {
  uint32_t version;
  void* (*CreateKernel)(const OrtCustomOp* op, const OrtApi* api, const OrtKernelInfo* info);  // unused: see V2
  const char* (*GetName)(const OrtCustomOp* op);
  const char* (*GetExecutionProviderType)(const OrtCustomOp* op);  // null result: CPU
  ONNXTensorElementDataType (*GetInputType)(const OrtCustomOp* op, size_t index);
  size_t (*GetInputTypeCount)(const OrtCustomOp* op);
  ONNXTensorElementDataType (*GetOutputType)(const OrtCustomOp* op, size_t index);
  size_t (*GetOutputTypeCount)(const OrtCustomOp* op);
  void (*KernelCompute)(void* kernel, OrtKernelContext* context);  // unused: see V2
  void (*KernelDestroy)(void* kernel);
  OrtCustomOpInputOutputCharacteristic (*GetInputCharacteristic)(const OrtCustomOp* op, size_t index);
  OrtCustomOpInputOutputCharacteristic (*GetOutputCharacteristic)(const OrtCustomOp* op, size_t index);
  OrtMemType (*GetInputMemoryType)(const OrtCustomOp* op, size_t index);
  int (*GetVariadicInputMinArity)(const OrtCustomOp* op);
  int (*GetVariadicInputHomogeneity)(const OrtCustomOp* op);
  int (*GetVariadicOutputMinArity)(const OrtCustomOp* op);
  int (*GetVariadicOutputHomogeneity)(const OrtCustomOp* op);
  OrtStatus* (*CreateKernelV2)(const OrtCustomOp* op, const OrtApi* api, const OrtKernelInfo* info, void** kernel);
  OrtStatus* (*KernelComputeV2)(void* kernel, OrtKernelContext* context);
  OrtStatus* (*InferOutputShapeFn)(const OrtCustomOp* op, OrtShapeInferContext* context);  // null: no inference
  int (*GetStartVersion)(const OrtCustomOp* op);
  int (*GetEndVersion)(const OrtCustomOp* op);
};

// The function table. `unused_N` covers the slots from N on that we do not call.
//
// Strings and arrays come back in two calls: with out == nullptr only *size is set (strings: with the closing NUL),
// with a buffer of *size elements they are copied. A status that is not null belongs to the caller: ReleaseStatus.
struct OrtApi {
  OrtStatus* (*CreateStatus)(OrtErrorCode code, const char* message);  // copies the message
  OrtErrorCode (*GetErrorCode)(const OrtStatus* status);
  const char* (*GetErrorMessage)(const OrtStatus* status);
  void* unused_3[23];
  OrtStatus* (*CreateCustomOpDomain)(const char* domain, OrtCustomOpDomain** out);
  OrtStatus* (*CustomOpDomain_Add)(OrtCustomOpDomain* domain, const OrtCustomOp* op);
  OrtStatus* (*AddCustomOpDomain)(OrtSessionOptions* options, OrtCustomOpDomain* domain);
  void* unused_29[22];
  OrtStatus* (*GetTensorMutableData)(OrtValue* value, void** out);
  void* unused_52[8];
  OrtStatus* (*GetTensorElementType)(const OrtTensorTypeAndShapeInfo* info, ONNXTensorElementDataType* out);
  OrtStatus* (*GetDimensionsCount)(const OrtTensorTypeAndShapeInfo* info, size_t* out);
  OrtStatus* (*GetDimensions)(const OrtTensorTypeAndShapeInfo* info, int64_t* dims, size_t length);
  void* unused_63[1];
  OrtStatus* (*GetTensorShapeElementCount)(const OrtTensorTypeAndShapeInfo* info, size_t* out);
  OrtStatus* (*GetTensorTypeAndShape)(const OrtValue* value, OrtTensorTypeAndShapeInfo** out);  // caller releases
  void* unused_66[19];
  OrtStatus* (*KernelInfoGetAttribute_float)(const OrtKernelInfo* info, const char* name, float* out);
  OrtStatus* (*KernelInfoGetAttribute_int64)(const OrtKernelInfo* info, const char* name, int64_t* out);
  OrtStatus* (*KernelInfoGetAttribute_string)(const OrtKernelInfo* info, const char* name, char* out, size_t* size);
  OrtStatus* (*KernelContext_GetInputCount)(const OrtKernelContext* context, size_t* out);
  OrtStatus* (*KernelContext_GetOutputCount)(const OrtKernelContext* context, size_t* out);
  OrtStatus* (*KernelContext_GetInput)(const OrtKernelContext* context, size_t index, const OrtValue** out);
  OrtStatus* (*KernelContext_GetOutput)(OrtKernelContext* context, size_t index, const int64_t* dims, size_t rank,
                                        OrtValue** out);
  void* unused_92[1];
  void (*ReleaseStatus)(OrtStatus* status);
  void* unused_94[5];
  void (*ReleaseTensorTypeAndShapeInfo)(OrtTensorTypeAndShapeInfo* info);
  void* unused_100[1];
  void (*ReleaseCustomOpDomain)(OrtCustomOpDomain* domain);
  void* unused_102[28];
  OrtStatus* (*AddSessionConfigEntry)(OrtSessionOptions* options, const char* key, const char* value);
  void* unused_131[31];
  OrtStatus* (*KernelInfoGetAttributeArray_float)(const OrtKernelInfo* info, const char* name, float* out,
                                                  size_t* size);
  OrtStatus* (*KernelInfoGetAttributeArray_int64)(const OrtKernelInfo* info, const char* name, int64_t* out,
                                                  size_t* size);
  void* unused_164[66];
  OrtStatus* (*KernelInfo_GetInputCount)(const OrtKernelInfo* info, size_t* out);
  OrtStatus* (*KernelInfo_GetOutputCount)(const OrtKernelInfo* info, size_t* out);
  void* unused_232[5];
  OrtStatus* (*HasSessionConfigEntry)(const OrtSessionOptions* options, const char* key, int* out);
  OrtStatus* (*GetSessionConfigEntry)(const OrtSessionOptions* options, const char* key, char* out, size_t* size);
  void* unused_239[5];
  OrtStatus* (*KernelInfo_GetNodeName)(const OrtKernelInfo* info, char* out, size_t* size);
  void* unused_245[4];
  OrtStatus* (*KernelInfoGetConstantInput_tensor)(const OrtKernelInfo* info, size_t index, int* is_constant,
                                                  const OrtValue** out);
  void* unused_250[24];
  // Runs task(user, i) for i in [0, total) in num_batch contiguous blocks (0: one task an index) on the session's pool.
  OrtStatus* (*KernelContext_ParallelFor)(const OrtKernelContext* context, void (*task)(void* user, size_t index),
                                          size_t total, size_t num_batch, void* user);
  // ---- Version 17 ends at slot 275. Below: newer slots, absent in older runtimes. ----
  void* unused_275[22];
  const char* (*GetKeyValue)(const OrtKeyValuePairs* pairs, const char* key);  // 1.22; null when absent
  void* unused_298[2];
  void (*ReleaseKeyValuePairs)(OrtKeyValuePairs* pairs);  // 1.22
  void* unused_301[90];
  OrtStatus* (*KernelInfo_GetConfigEntries)(const OrtKernelInfo* info,
                                            OrtKeyValuePairs** out);  // 1.24; caller releases
};

// NN of a runtime that calls itself "1.NN.P"; 0 when the text is not of that form or the major version is not 1.
inline int runtime_minor(const OrtApiBase* base) {
  const char* text = base->GetVersionString();
  if (text[0] != '1' || text[1] != '.') return 0;
  int minor = 0;
  for (const char* p = text + 2; *p >= '0' && *p <= '9'; ++p) minor = minor * 10 + (*p - '0');
  return minor;
}

#define RRM_ORT_SLOT(name, index) \
  static_assert(offsetof(OrtApi, name) == (index) * sizeof(void*), "OrtApi::" #name " is not at slot " #index)
RRM_ORT_SLOT(GetErrorMessage, 2);
RRM_ORT_SLOT(CreateCustomOpDomain, 26);
RRM_ORT_SLOT(AddCustomOpDomain, 28);
RRM_ORT_SLOT(GetTensorMutableData, 51);
RRM_ORT_SLOT(GetTensorElementType, 60);
RRM_ORT_SLOT(GetTensorTypeAndShape, 65);
RRM_ORT_SLOT(KernelInfoGetAttribute_float, 85);
RRM_ORT_SLOT(KernelContext_GetOutput, 91);
RRM_ORT_SLOT(ReleaseStatus, 93);
RRM_ORT_SLOT(ReleaseTensorTypeAndShapeInfo, 99);
RRM_ORT_SLOT(ReleaseCustomOpDomain, 101);
RRM_ORT_SLOT(AddSessionConfigEntry, 130);
RRM_ORT_SLOT(KernelInfoGetAttributeArray_float, 162);
RRM_ORT_SLOT(KernelInfo_GetInputCount, 230);
RRM_ORT_SLOT(GetSessionConfigEntry, 238);
RRM_ORT_SLOT(KernelInfo_GetNodeName, 244);
RRM_ORT_SLOT(KernelInfoGetConstantInput_tensor, 249);
RRM_ORT_SLOT(KernelContext_ParallelFor, 274);
RRM_ORT_SLOT(GetKeyValue, 297);
RRM_ORT_SLOT(ReleaseKeyValuePairs, 300);
RRM_ORT_SLOT(KernelInfo_GetConfigEntries, 391);
#undef RRM_ORT_SLOT

}  // namespace rrm::ort
