// What the kernels are written in: the thread that runs them, loads and stores of four elements, and sums over a warp
// or a block.
//
// A kernel is a function object `void operator()(Thread& thread) const`, a template of the thread. On a device that is
// DeviceThread (launcher.cu); on the host it is a thread of emulation.h, so that tests run the very same code. A thread
// offers:
//
//   index(), threads(), block()             its place, and the size of its block
//   Shuffle(value, mask)                    the value that the lane with number (own ^ mask) gave; all lanes of a warp
//                                           call it
//   Sync()                                  all threads of the block wait for each other
//   shared()                                the block's memory, of the size asked for at the launch
#ifndef BERT_WORKER_MODEL_CUDA_THREAD_H_
#define BERT_WORKER_MODEL_CUDA_THREAD_H_

#include <cmath>
#include <cstdint>

#include "worker/model/cpu/kernels.h"
#include "worker/model/dropout.h"

#ifdef __CUDACC__
#include <cuda_bf16.h>
#define BERT_KERNEL __device__ __forceinline__
#else
#define BERT_KERNEL inline
#endif

namespace bert::model::cuda {

using cpu::Bf16;

inline constexpr int kWarp = 32;
// Elements that a thread loads at once: 16 bytes of fp32 or 8 of bf16.
inline constexpr int kVector = 4;
// Columns that the lanes of a warp load at once.
inline constexpr int kWarpColumns = kWarp * kVector;

struct alignas(16) Vector {
  float v[kVector];
};
struct alignas(8) Bf16Vector {
  Bf16 v[kVector];
};

BERT_KERNEL float FloatOf(Bf16 x) {
  const uint32_t bits = static_cast<uint32_t>(x.bits) << 16;
  return __builtin_bit_cast(float, bits);
}
BERT_KERNEL float FloatOf(float x) { return x; }

// To nearest, ties to even.
BERT_KERNEL void Round(float x, float* to) { *to = x; }
BERT_KERNEL void Round(float x, Bf16* to) {
#ifdef __CUDACC__
  const __nv_bfloat16 rounded = __float2bfloat16_rn(x);
  to->bits = __builtin_bit_cast(uint16_t, rounded);
#else
  const uint32_t bits = __builtin_bit_cast(uint32_t, x);
  const bool nan = (bits & 0x7fffffffu) > 0x7f800000u;
  to->bits = nan ? uint16_t{0x7fff} : static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
#endif
}
template <typename T>
BERT_KERNEL float Rounded(float x) {
  T rounded;
  Round(x, &rounded);
  return FloatOf(rounded);
}

// `from` and `to` lie at a multiple of four elements.
BERT_KERNEL Vector Load(const float* from) { return *reinterpret_cast<const Vector*>(from); }
BERT_KERNEL Vector Load(const Bf16* from) {
  const Bf16Vector packed = *reinterpret_cast<const Bf16Vector*>(from);
  Vector out;
  for (int i = 0; i < kVector; ++i) out.v[i] = FloatOf(packed.v[i]);
  return out;
}
BERT_KERNEL void Store(const Vector& from, float* to) { *reinterpret_cast<Vector*>(to) = from; }
BERT_KERNEL void Store(const Vector& from, Bf16* to) {
  Bf16Vector packed;
  for (int i = 0; i < kVector; ++i) Round(from.v[i], &packed.v[i]);
  *reinterpret_cast<Bf16Vector*>(to) = packed;
}

template <typename Thread>
BERT_KERNEL int LaneOf(const Thread& thread) {
  return thread.index() % kWarp;
}
template <typename Thread>
BERT_KERNEL int WarpOf(const Thread& thread) {
  return thread.index() / kWarp;
}
template <typename Thread>
BERT_KERNEL int WarpsOf(const Thread& thread) {
  return thread.threads() / kWarp;
}

// Over the lanes of a warp, which all get the result.
template <typename Thread, typename Value>
BERT_KERNEL Value WarpSum(Thread& thread, Value value) {
  for (int mask = kWarp / 2; mask > 0; mask /= 2) value += thread.Shuffle(value, mask);
  return value;
}
template <typename Thread>
BERT_KERNEL float WarpMax(Thread& thread, float value) {
  for (int mask = kWarp / 2; mask > 0; mask /= 2) {
    const float other = thread.Shuffle(value, mask);
    value = other > value ? other : value;
  }
  return value;
}

// Over all threads of the block, which all get the result. `scratch` holds a value for each warp, of shared memory.
template <typename Thread, typename Value>
BERT_KERNEL Value BlockSum(Thread& thread, Value value, Value* scratch) {
  value = WarpSum(thread, value);
  thread.Sync();  // Who still reads the last result from `scratch`?
  if (LaneOf(thread) == 0) scratch[WarpOf(thread)] = value;
  thread.Sync();
  Value total = scratch[0];
  for (int warp = 1; warp < WarpsOf(thread); ++warp) total += scratch[warp];
  return total;
}
template <typename Thread>
BERT_KERNEL float BlockMax(Thread& thread, float value, float* scratch) {
  value = WarpMax(thread, value);
  thread.Sync();
  if (LaneOf(thread) == 0) scratch[WarpOf(thread)] = value;
  thread.Sync();
  float max = scratch[0];
  for (int warp = 1; warp < WarpsOf(thread); ++warp) max = scratch[warp] > max ? scratch[warp] : max;
  return max;
}

// A Dropout as a kernel reads it.
struct DropoutMask {
  bool active = false;
  float scale = 1;
  uint32_t threshold = 0;
  uint64_t key = 0;
  const uint64_t* seed = nullptr;
  uint64_t site = 0;
};
inline DropoutMask MaskOf(const Dropout& dropout) {
  return {.active = dropout.active(),
          .scale = dropout.scale(),
          .threshold = dropout.threshold(),
          .key = dropout.key,
          .seed = dropout.seed,
          .site = dropout.site};
}
// Once a thread, before KeptOf.
BERT_KERNEL uint64_t KeyOf(const DropoutMask& mask) {
  return mask.active && mask.seed != nullptr ? DropoutKey(*mask.seed, mask.site) : mask.key;
}
BERT_KERNEL float KeptOf(const DropoutMask& mask, uint64_t key, float x, uint32_t element) {
  return DropoutBits(key, element) >= mask.threshold ? x * mask.scale : 0.0f;
}

}  // namespace bert::model::cuda

#endif  // BERT_WORKER_MODEL_CUDA_THREAD_H_
