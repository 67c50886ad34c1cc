// Dropout whose masks are a pure function of (key, element index): nothing is stored for the backward pass, a repeated
// step repeats its bits, and neither the number of threads nor the device changes them.
#ifndef BERT_WORKER_MODEL_DROPOUT_H_
#define BERT_WORKER_MODEL_DROPOUT_H_

#include <cstdint>

namespace bert::model {

// The functions here are always inlined: kernels compiled for several instruction sets use them, and a copy of one set
// must not be merged with another's. They are constexpr so that CUDA kernels can call them too.
#define BERT_ALWAYS_INLINE constexpr inline __attribute__((always_inline))

// One application of dropout in one forward pass. Elements are dropped with `probability`, the others scaled by
// 1 / (1 - probability).
struct Dropout {
  double probability = 0;
  uint64_t key = 0;
  // Only for the fused kernels of CUDA devices: where the pass's seed lies in device memory, so that a recorded pass
  // can be repeated with another one. The key is then DropoutKey(*seed, site), and `key` is not read.
  const uint64_t* seed = nullptr;
  uint64_t site = 0;

  BERT_ALWAYS_INLINE bool active() const { return probability > 0; }
  BERT_ALWAYS_INLINE float scale() const { return static_cast<float>(1.0 / (1.0 - probability)); }
  // An element is kept where its bits are at least this.
  BERT_ALWAYS_INLINE uint32_t threshold() const { return static_cast<uint32_t>(probability * 4294967296.0); }
};

// The key of the site-th dropout of the pass with this seed (the finaliser of SplitMix64 over both).
BERT_ALWAYS_INLINE uint64_t DropoutKey(uint64_t seed, uint64_t site) {
  uint64_t x = seed + (site + 1) * 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

// 32 bits for one element: a Weyl sequence through MurmurHash3's finaliser, keyed before both multiplications. Five
// multiplications and shifts on 32-bit lanes, so compilers vectorise it.
BERT_ALWAYS_INLINE uint32_t DropoutBits(uint64_t key, uint32_t index) {
  uint32_t x = index * 0x9e3779b9u + static_cast<uint32_t>(key);
  x ^= x >> 16;
  x *= 0x85ebca6bu;
  x ^= static_cast<uint32_t>(key >> 32);
  x ^= x >> 13;
  x *= 0xc2b2ae35u;
  x ^= x >> 16;
  return x;
}

#undef BERT_ALWAYS_INLINE

}  // namespace bert::model

#endif  // BERT_WORKER_MODEL_DROPOUT_H_
