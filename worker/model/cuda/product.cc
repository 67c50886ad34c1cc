#include "worker/model/cuda/product.h"

#include <ATen/cuda/CUDAContextLight.h>
#include <ATen/cuda/Exceptions.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <cublasLt.h>

#include <map>
#include <memory>
#include <tuple>

#include "common/check.h"
#include "worker/model/cuda/stream.h"

namespace bert::model::cuda {
namespace {

// What NVIDIA recommends for Hopper.
constexpr size_t kWorkspaceBytes = 32 << 20;
constexpr uint32_t kAlignment = 16;

template <auto destroy>
struct Destroyer {
  template <typename Descriptor>
  void operator()(Descriptor* descriptor) const {
    destroy(descriptor);
  }
};
using Operation = std::unique_ptr<cublasLtMatmulDescOpaque_t, Destroyer<cublasLtMatmulDescDestroy>>;
using MatrixLayout = std::unique_ptr<cublasLtMatrixLayoutOpaque_t, Destroyer<cublasLtMatrixLayoutDestroy>>;
using Preference = std::unique_ptr<cublasLtMatmulPreferenceOpaque_t, Destroyer<cublasLtMatmulPreferenceDestroy>>;

template <typename Value>
void SetAttribute(const Operation& operation, cublasLtMatmulDescAttributes_t attribute, const Value& value) {
  TORCH_CUDABLAS_CHECK(cublasLtMatmulDescSetAttribute(operation.get(), attribute, &value, sizeof(value)));
}

Operation MakeOperation(const Product& p) {
  cublasLtMatmulDesc_t raw = nullptr;
  TORCH_CUDABLAS_CHECK(cublasLtMatmulDescCreate(&raw, CUBLAS_COMPUTE_32F, CUDA_R_32F));
  Operation operation(raw);
  SetAttribute(operation, CUBLASLT_MATMUL_DESC_TRANSA, p.transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N);
  SetAttribute(operation, CUBLASLT_MATMUL_DESC_TRANSB, p.transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N);
  if (p.bias != nullptr) {
    SetAttribute(operation, CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_BIAS);
    SetAttribute(operation, CUBLASLT_MATMUL_DESC_BIAS_POINTER, p.bias);
    SetAttribute(operation, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, CUDA_R_16BF);
  }
  return operation;
}

MatrixLayout MakeLayout(cudaDataType type, int64_t rows, int64_t columns, int64_t leading_dimension) {
  cublasLtMatrixLayout_t raw = nullptr;
  TORCH_CUDABLAS_CHECK(cublasLtMatrixLayoutCreate(&raw, type, static_cast<uint64_t>(rows),
                                                  static_cast<uint64_t>(columns), leading_dimension));
  return MatrixLayout(raw);
}

struct Layouts {
  MatrixLayout a;
  MatrixLayout b;
  MatrixLayout d;
};

// The heuristics take longer than a product, and what they say depends on the shape alone. A trainer has a few dozen.
using ShapeKey = std::tuple<int64_t, int64_t, int64_t, bool, bool, bool, bool, bool, int64_t, int64_t, int64_t>;

ShapeKey KeyOf(const Product& p) {
  return {p.m,         p.n,   p.k,   p.transpose_a, p.transpose_b, p.d_fp32 != nullptr, p.bias != nullptr,
          p.beta != 0, p.lda, p.ldb, p.ldd};
}

cublasLtMatmulAlgo_t AlgorithmFor(cublasLtHandle_t handle, const Product& p, const Operation& operation,
                                  const Layouts& layouts) {
  thread_local std::map<ShapeKey, cublasLtMatmulAlgo_t> algorithms;
  const ShapeKey key = KeyOf(p);
  if (const auto found = algorithms.find(key); found != algorithms.end()) return found->second;

  cublasLtMatmulPreference_t raw = nullptr;
  TORCH_CUDABLAS_CHECK(cublasLtMatmulPreferenceCreate(&raw));
  const Preference preference(raw);
  const auto prefer = [&](cublasLtMatmulPreferenceAttributes_t attribute, const auto& value) {
    TORCH_CUDABLAS_CHECK(cublasLtMatmulPreferenceSetAttribute(raw, attribute, &value, sizeof(value)));
  };
  prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, kWorkspaceBytes);
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, kAlignment);
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, kAlignment);
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, kAlignment);
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, kAlignment);
  cublasLtMatmulHeuristicResult_t result = {};
  int found = 0;
  TORCH_CUDABLAS_CHECK(cublasLtMatmulAlgoGetHeuristic(handle, operation.get(), layouts.a.get(), layouts.b.get(),
                                                      layouts.d.get(), layouts.d.get(), raw, 1, &result, &found));
  TORCH_CHECK(found == 1, "cuBLASLt has no algorithm for a product of ", p.m, " x ", p.n, " x ", p.k);
  return algorithms.emplace(key, result.algo).first->second;
}

}  // namespace

void RunProduct(const Product& p) {
  BERT_CHECK((p.d_bf16 == nullptr) != (p.d_fp32 == nullptr)) << "a product with one result";
  if (p.m == 0 || p.n == 0 || (p.k == 0 && p.beta == 1)) return;
  const Operation operation = MakeOperation(p);
  const Layouts layouts = {.a = MakeLayout(CUDA_R_16BF, p.transpose_a ? p.k : p.m, p.transpose_a ? p.m : p.k, p.lda),
                           .b = MakeLayout(CUDA_R_16BF, p.transpose_b ? p.n : p.k, p.transpose_b ? p.k : p.n, p.ldb),
                           .d = MakeLayout(p.d_fp32 != nullptr ? CUDA_R_32F : CUDA_R_16BF, p.m, p.n, p.ldd)};
  const cublasLtHandle_t handle = at::cuda::getCurrentCUDABlasLtHandle();
  const cublasLtMatmulAlgo_t algorithm = AlgorithmFor(handle, p, operation, layouts);
  // Given back when the call returns: the allocator hands it out again only behind this product on the stream.
  const c10::DataPtr workspace = c10::cuda::CUDACachingAllocator::get()->allocate(kWorkspaceBytes);
  const float alpha = 1;
  void* const d = p.d_fp32 != nullptr ? static_cast<void*>(p.d_fp32) : p.d_bf16;
  TORCH_CUDABLAS_CHECK(cublasLtMatmul(handle, operation.get(), &alpha, p.a, layouts.a.get(), p.b, layouts.b.get(),
                                      &p.beta, d, layouts.d.get(), d, layouts.d.get(), &algorithm, workspace.get(),
                                      kWorkspaceBytes, CurrentStream()));
}

}  // namespace bert::model::cuda
