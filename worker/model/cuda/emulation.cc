#include "worker/model/cuda/emulation.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>
#include <ucontext.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <numeric>
#include <vector>

#include "common/check.h"
#include "worker/model/cuda/attention.h"
#include "worker/model/cuda/launches.h"
#include "worker/model/generic_operations.h"

namespace bert::model::cuda {
namespace {

constexpr size_t kStackBytes = 64 << 10;
constexpr int64_t kSharedBytesMax = 48 << 10;
constexpr int kThreadsMax = 1024;

Order order_of_all = Order::kAscending;

// A permutation of 0 .. count - 1.
std::vector<int64_t> Numbers(int64_t count, Order order) {
  std::vector<int64_t> numbers(static_cast<size_t>(count));
  std::iota(numbers.begin(), numbers.end(), int64_t{0});
  if (order == Order::kDescending) std::reverse(numbers.begin(), numbers.end());
  if (order == Order::kScattered) {
    std::sort(numbers.begin(), numbers.end(), [](int64_t a, int64_t b) {
      const auto key = [](int64_t x) { return DropoutBits(1, static_cast<uint32_t>(x)); };
      return std::make_pair(key(a), a) < std::make_pair(key(b), b);
    });
  }
  return numbers;
}

}  // namespace

class EmulatedBlock {
 public:
  using Kernel = std::function<void(EmulatedThread&)>;

  EmulatedBlock(const Kernel* kernel, const Grid& grid)
      : kernel_(kernel),
        grid_(grid),
        order_(Numbers(grid.threads, order_of_all)),
        contexts_(static_cast<size_t>(grid.threads)),
        states_(static_cast<size_t>(grid.threads)),
        slots_(static_cast<size_t>(2 * grid.threads)),
        stacks_(static_cast<size_t>(grid.threads) * kStackBytes),
        shared_(static_cast<size_t>((grid.shared_bytes + 7) / 8)) {
    BERT_CHECK(grid.threads > 0 && grid.threads % kWarp == 0 && grid.threads <= kThreadsMax) << grid.threads;
    BERT_CHECK(grid.shared_bytes <= kSharedBytesMax) << grid.shared_bytes << " bytes of shared memory";
  }

  void Run(int64_t block) {
    block_ = block;
    std::fill(shared_.begin(), shared_.end(), std::numeric_limits<uint64_t>::max());
    std::fill(states_.begin(), states_.end(), State::kReady);
    for (size_t i = 0; i < contexts_.size(); ++i) {
      getcontext(&contexts_[i]);
      contexts_[i].uc_stack.ss_sp = stacks_.data() + i * kStackBytes;
      contexts_[i].uc_stack.ss_size = kStackBytes;
      contexts_[i].uc_link = &scheduler_;
      makecontext(&contexts_[i], reinterpret_cast<void (*)()>(&EmulatedBlock::Main), 0);
    }
    while (!AllAre(0, states_.size(), State::kDone)) {
      for (const int64_t thread : order_) {
        if (states_[static_cast<size_t>(thread)] == State::kReady) Resume(static_cast<size_t>(thread));
      }
      if (ReleaseWarps() || AllAre(0, states_.size(), State::kDone)) continue;
      BERT_CHECK(AllAre(0, states_.size(), State::kAtBarrier)) << "a barrier that not all threads of a block reach";
      std::fill(states_.begin(), states_.end(), State::kReady);
    }
  }

 private:
  friend class EmulatedThread;
  enum class State { kReady, kAtShuffle, kAtBarrier, kDone };

  static void Main() {
    EmulatedBlock* const self = running_;
    const size_t index = self->current_;
    EmulatedThread thread(self, static_cast<int>(index));
    (*self->kernel_)(thread);
    self->states_[index] = State::kDone;
  }

  void Resume(size_t thread) {
    current_ = thread;
    running_ = this;
    swapcontext(&scheduler_, &contexts_[thread]);
  }

  void Wait(size_t thread, State state) {
    states_[thread] = state;
    swapcontext(&contexts_[thread], &scheduler_);
  }

  bool AllAre(size_t begin, size_t end, State state) const {
    return std::all_of(states_.begin() + static_cast<int64_t>(begin), states_.begin() + static_cast<int64_t>(end),
                       [&](State each) { return each == state; });
  }

  bool ReleaseWarps() {
    bool any = false;
    for (size_t begin = 0; begin < states_.size(); begin += kWarp) {
      const auto first = states_.begin() + static_cast<int64_t>(begin);
      if (std::find(first, first + kWarp, State::kAtShuffle) == first + kWarp) continue;
      BERT_CHECK(AllAre(begin, begin + kWarp, State::kAtShuffle)) << "a shuffle that not all lanes of a warp reach";
      std::fill(first, first + kWarp, State::kReady);
      any = true;
    }
    return any;
  }

  static inline EmulatedBlock* running_ = nullptr;

  const Kernel* const kernel_;
  const Grid grid_;
  const std::vector<int64_t> order_;
  int64_t block_ = 0;
  size_t current_ = 0;
  ucontext_t scheduler_ = {};
  std::vector<ucontext_t> contexts_;
  std::vector<State> states_;
  // What the lanes give away, for odd and even shuffles: the next is written while some still read the last.
  std::vector<uint64_t> slots_;
  std::vector<char> stacks_;
  std::vector<uint64_t> shared_;
};

int EmulatedThread::threads() const { return block_->grid_.threads; }
int64_t EmulatedThread::block() const { return block_->block_; }
void EmulatedThread::Sync() { block_->Wait(static_cast<size_t>(index_), EmulatedBlock::State::kAtBarrier); }
void* EmulatedThread::shared() const { return block_->shared_.data(); }

void EmulatedThread::ExchangeBytes(const void* own, void* other, int size, int mask) {
  uint64_t* const slots = block_->slots_.data() + (shuffles_++ % 2) * block_->grid_.threads;
  std::memcpy(slots + index_, own, static_cast<size_t>(size));
  block_->Wait(static_cast<size_t>(index_), EmulatedBlock::State::kAtShuffle);
  std::memcpy(other, slots + (index_ ^ mask), static_cast<size_t>(size));
}

void Emulate(const std::function<void(EmulatedThread&)>& kernel, const Grid& grid) {
  EmulatedBlock block(&kernel, grid);
  for (const int64_t number : Numbers(grid.blocks, order_of_all)) block.Run(number);
}

namespace {

struct HostRunner {
  // As cuBLAS documents it, element by element.
  static void Multiply(const Product& p) {
    for (int64_t column = 0; column < p.n; ++column) {
      for (int64_t row = 0; row < p.m; ++row) {
        float sum = p.bias == nullptr ? 0.0f : FloatOf(p.bias[row]);
        if (p.beta != 0)
          sum +=
              p.beta * (p.d_fp32 != nullptr ? p.d_fp32[row + column * p.ldd] : FloatOf(p.d_bf16[row + column * p.ldd]));
        for (int64_t i = 0; i < p.k; ++i) {
          const Bf16 a = p.transpose_a ? p.a[i + row * p.lda] : p.a[row + i * p.lda];
          const Bf16 b = p.transpose_b ? p.b[column + i * p.ldb] : p.b[i + column * p.ldb];
          sum += FloatOf(a) * FloatOf(b);
        }
        if (p.d_fp32 != nullptr) {
          p.d_fp32[row + column * p.ldd] = sum;
        } else {
          Round(sum, p.d_bf16 + row + column * p.ldd);
        }
      }
    }
  }

  template <typename Kernel>
  static void Run(const Kernel& kernel, const Grid& grid) {
    Emulate([&](EmulatedThread& thread) { kernel(thread); }, grid);
  }
};

constexpr Launcher kHostLauncher = MakeLauncher<HostRunner>();

// Flash attention by plain operations, with the segments that it is told by their starts. Without dropout.
class PlainAttention {
 public:
  PlainAttention(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value, const AttentionPlan& plan,
                 double dropout)
      : query_key_value_(at::stack({query, key, value}, 1).view({query.size(0), -1})),
        no_bias_{at::zeros({query_key_value_.size(1)}, query.options()), at::zeros({query_key_value_.size(1)})},
        plan_{.rows = 1,
              .seq = query.size(0),
              .heads = plan.heads,
              .head_size = plan.head_size,
              .segments = at::zeros({1, query.size(0)}, at::kInt),
              .spans = {}} {
    BERT_CHECK(dropout == 0) << "attention is emulated without dropout only";
    const int32_t* starts = plan.starts.const_data_ptr<int32_t>();
    BERT_CHECK(starts[0] == 0 && starts[plan.starts.numel() - 1] == plan_.seq) << "starts that leave tokens out";
    for (int64_t i = 0; i + 1 < plan.starts.numel(); ++i) {
      BERT_CHECK(starts[i] <= starts[i + 1] && starts[i + 1] - starts[i] <= plan.seq) << "a segment longer than a row";
      plan_.segments[0].slice(0, starts[i], starts[i + 1]).fill_(i);
    }
  }

  Attended Forward() const { return generic::Attention(query_key_value_, no_bias_, plan_, Dropout()); }
  std::vector<at::Tensor> Backward(const at::Tensor& d_output, const Attended& attended) const {
    const at::Tensor d = generic::AttentionBackward(d_output.reshape({plan_.seq, -1}), query_key_value_, no_bias_,
                                                    attended, plan_, Dropout());
    std::vector<at::Tensor> parts = d.view({plan_.seq, 3, plan_.heads, plan_.head_size}).unbind(1);
    for (at::Tensor& part : parts) part = part.contiguous();
    return parts;
  }

 private:
  at::Tensor query_key_value_;
  Weight no_bias_;
  AttentionPlan plan_;
};

constexpr FlashAttention kHostFlashAttention = {
    .forward = [](const at::Tensor& query, const at::Tensor& key, const at::Tensor& value, const AttentionPlan& plan,
                  double dropout) { return PlainAttention(query, key, value, plan, dropout).Forward(); },
    .backward =
        [](const at::Tensor& d_output, const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
           const Attended& attended, const AttentionPlan& plan,
           double dropout) { return PlainAttention(query, key, value, plan, dropout).Backward(d_output, attended); }};

}  // namespace

Emulation::Emulation(Order order) {
  BERT_CHECK(HostLauncher() == nullptr) << "two emulations at once";
  order_of_all = order;
  SetHostLauncher(&kHostLauncher);
  SetHostFlashAttention(&kHostFlashAttention);
}

Emulation::~Emulation() {
  SetHostLauncher(nullptr);
  SetHostFlashAttention(nullptr);
}

}  // namespace bert::model::cuda
