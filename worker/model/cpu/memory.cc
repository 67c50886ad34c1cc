#include "worker/model/cpu/memory.h"

#include <ATen/ops/empty.h>
#include <malloc.h>
#include <sys/mman.h>

#include <cstdint>

namespace bert::model::cpu {
namespace {

constexpr uintptr_t kHugePage = uintptr_t{1} << 21;
#ifdef __GLIBC__
// From the kernel in one go.
constexpr int kHeapGrowth = 64 << 20;
#endif

}  // namespace

void KeepFreedMemory() {
#ifdef __GLIBC__
  mallopt(M_MMAP_MAX, 0);
  mallopt(M_TRIM_THRESHOLD, -1);
  mallopt(M_TOP_PAD, kHeapGrowth);
#endif
}

at::Tensor LargeZeros(int64_t size, at::ScalarType dtype) {
  at::Tensor tensor = at::empty({size}, dtype);
#ifdef MADV_HUGEPAGE
  const uintptr_t begin = (reinterpret_cast<uintptr_t>(tensor.data_ptr()) + kHugePage - 1) & ~(kHugePage - 1);
  const uintptr_t end = (reinterpret_cast<uintptr_t>(tensor.data_ptr()) + tensor.nbytes()) & ~(kHugePage - 1);
  // Only advice: without it the tensor is as good.
  if (begin < end) (void)madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
#endif
  return tensor.zero_();
}

}  // namespace bert::model::cpu
