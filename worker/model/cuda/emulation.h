// The kernels of this folder on the host: every thread of a block is a coroutine, which runs until it waits for the
// others. Slow, and only for tests.
//
// It finds what running the code on a device might not show: lanes that miss a shuffle, threads that miss a barrier
// (both stop the process), and, by running the threads of a block in different orders, results that depend on who comes
// first. What a block reads of its shared memory before it is written is NaN.
#ifndef BERT_WORKER_MODEL_CUDA_EMULATION_H_
#define BERT_WORKER_MODEL_CUDA_EMULATION_H_

#include <cstdint>
#include <functional>
#include <memory>

#include "worker/model/cuda/launcher.h"

namespace bert::model::cuda {

class EmulatedBlock;

// See thread.h.
class EmulatedThread {
 public:
  int index() const { return index_; }
  int threads() const;
  int64_t block() const;
  template <typename Value>
  Value Shuffle(Value value, int mask) {
    static_assert(sizeof(Value) <= sizeof(uint64_t));
    Value other;
    ExchangeBytes(&value, &other, sizeof(Value), mask);
    return other;
  }
  void Sync();
  void* shared() const;

 private:
  friend class EmulatedBlock;
  EmulatedThread(EmulatedBlock* block, int index) : block_(block), index_(index) {}
  void ExchangeBytes(const void* own, void* other, int size, int mask);

  EmulatedBlock* block_;
  int index_;
  int shuffles_ = 0;
};

// In which order the threads of a block and the blocks of a grid run where they are free to.
enum class Order { kAscending, kDescending, kScattered };

// Runs `kernel` for every thread of the grid and returns when all are done.
void Emulate(const std::function<void(EmulatedThread&)>& kernel, const Grid& grid);

// While it lives, the operations of operations.h on CPU tensors are those for CUDA devices, by emulated kernels. One at
// a time.
class Emulation {
 public:
  explicit Emulation(Order order = Order::kAscending);
  ~Emulation();
  Emulation(const Emulation&) = delete;
  Emulation& operator=(const Emulation&) = delete;
};

}  // namespace bert::model::cuda

#endif  // BERT_WORKER_MODEL_CUDA_EMULATION_H_
