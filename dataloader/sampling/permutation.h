// The order of an epoch: a permutation that needs no memory.
#ifndef BERT_DATALOADER_SAMPLING_PERMUTATION_H_
#define BERT_DATALOADER_SAMPLING_PERMUTATION_H_

#include <array>
#include <cstdint>

namespace bert::sampling {

// A permutation of [0, size) chosen by (seed, epoch), each element computed in constant expected time: an alternating
// Feistel network over the smallest power of two that holds `size` (Black and Rogaway, "Ciphers with arbitrary finite
// domains", 2002), walked until it lands inside, which takes under two rounds on average. Immutable.
class Permutation {
 public:
  // size >= 1; epoch < 2^32. Permutations of different `stream` have nothing to do with each other; stream < 2^62.
  Permutation(int64_t size, uint64_t seed, uint64_t epoch, uint64_t stream = 0);

  // index in [0, size).
  int64_t operator()(int64_t index) const;
  // Inverse(p(i)) == i.
  int64_t Inverse(int64_t value) const;

  int64_t size() const { return size_; }

 private:
  static constexpr int kRounds = 8;

  int64_t size_;
  int left_bits_;
  int right_bits_;
  std::array<uint64_t, kRounds> keys_;
};

}  // namespace bert::sampling

#endif  // BERT_DATALOADER_SAMPLING_PERMUTATION_H_
