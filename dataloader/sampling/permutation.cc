#include "dataloader/sampling/permutation.h"

#include <bit>

#include "common/check.h"
#include "dataloader/sampling/philox.h"

namespace bert::sampling {
namespace {

// The finalizer of SplitMix64: every input bit reaches every output bit.
uint64_t Mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EB;
  return x ^ (x >> 31);
}

}  // namespace

Permutation::Permutation(int64_t size, uint64_t seed, uint64_t epoch, uint64_t stream) : size_(size) {
  BERT_CHECK(size >= 1) << "size " << size;
  const int bits = std::bit_width(static_cast<uint64_t>(size - 1));
  left_bits_ = bits / 2;
  right_bits_ = bits - left_bits_;
  PhiloxStream numbers(seed, epoch, stream, PhiloxUse::kOrder);
  for (uint64_t& key : keys_) {
    const uint64_t high = numbers.Next();
    key = high << 32 | numbers.Next();
  }
}

int64_t Permutation::operator()(int64_t index) const {
  BERT_CHECK(index >= 0 && index < size_) << index << " of " << size_;
  const uint64_t left_mask = (uint64_t{1} << left_bits_) - 1;
  const uint64_t right_mask = (uint64_t{1} << right_bits_) - 1;
  auto value = static_cast<uint64_t>(index);
  do {
    uint64_t left = value >> right_bits_;
    uint64_t right = value & right_mask;
    for (int round = 0; round < kRounds; round += 2) {
      left ^= Mix(right + keys_[round]) & left_mask;
      right ^= Mix(left + keys_[round + 1]) & right_mask;
    }
    value = left << right_bits_ | right;
  } while (value >= static_cast<uint64_t>(size_));
  return static_cast<int64_t>(value);
}

int64_t Permutation::Inverse(int64_t value) const {
  BERT_CHECK(value >= 0 && value < size_) << value << " of " << size_;
  const uint64_t left_mask = (uint64_t{1} << left_bits_) - 1;
  const uint64_t right_mask = (uint64_t{1} << right_bits_) - 1;
  auto index = static_cast<uint64_t>(value);
  do {
    uint64_t left = index >> right_bits_;
    uint64_t right = index & right_mask;
    for (int round = kRounds - 2; round >= 0; round -= 2) {
      right ^= Mix(left + keys_[round + 1]) & right_mask;
      left ^= Mix(right + keys_[round]) & left_mask;
    }
    index = left << right_bits_ | right;
  } while (index >= static_cast<uint64_t>(size_));
  return static_cast<int64_t>(index);
}

}  // namespace bert::sampling
