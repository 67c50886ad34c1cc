// Philox4x32-10, the counter-based generator of Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (2011).
#ifndef BERT_DATALOADER_SAMPLING_PHILOX_H_
#define BERT_DATALOADER_SAMPLING_PHILOX_H_

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

namespace bert::sampling {

using PhiloxBlock = std::array<uint32_t, 4>;

// Ten rounds. A bijection of the counter for every key.
constexpr PhiloxBlock Philox4x32(PhiloxBlock counter, uint64_t key) {
  auto key0 = static_cast<uint32_t>(key);
  auto key1 = static_cast<uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t product0 = uint64_t{0xD2511F53} * counter[0];
    const uint64_t product1 = uint64_t{0xCD9E8D57} * counter[2];
    counter = {static_cast<uint32_t>(product1 >> 32) ^ counter[1] ^ key0, static_cast<uint32_t>(product1),
               static_cast<uint32_t>(product0 >> 32) ^ counter[3] ^ key1, static_cast<uint32_t>(product0)};
    key0 += 0x9E3779B9;
    key1 += 0xBB67AE85;
  }
  return counter;
}

// What a stream of random numbers is for; streams of different use never overlap.
enum class PhiloxUse : uint32_t { kMasking = 0, kOrder = 1 };

// The endless stream of numbers of (seed, epoch, row). Not thread-safe; cheap to make.
class PhiloxStream {
 public:
  // epoch < 2^32; row < 2^63.
  PhiloxStream(uint64_t seed, uint64_t epoch, uint64_t row, PhiloxUse use)
      : seed_(seed),
        counter_{0, static_cast<uint32_t>(epoch), static_cast<uint32_t>(row),
                 static_cast<uint32_t>(row >> 32) | static_cast<uint32_t>(use) << 31} {}

  // Uniform in [0, 2^32).
  uint32_t Next() {
    if (next_ == numbers_.size()) Refill();
    return numbers_[next_++];
  }

  // In [0, limit), limit > 0. Some values are more likely than others by a factor of at most 1 + limit / 2^32.
  uint32_t Below(uint32_t limit) { return static_cast<uint32_t>(uint64_t{Next()} * limit >> 32); }

 private:
  // Several blocks at once: each is one long chain of multiplications, and the processor can work on all of them.
  static constexpr size_t kBlocks = 4;

  void Refill() {
    for (size_t i = 0; i < kBlocks; ++i) {
      const PhiloxBlock block = Philox4x32(counter_, seed_);
      std::copy(block.begin(), block.end(), numbers_.begin() + i * block.size());
      ++counter_[0];
    }
    next_ = 0;
  }

  uint64_t seed_;
  PhiloxBlock counter_;
  std::array<uint32_t, kBlocks * 4> numbers_{};
  size_t next_ = kBlocks * 4;
};

}  // namespace bert::sampling

#endif  // BERT_DATALOADER_SAMPLING_PHILOX_H_
