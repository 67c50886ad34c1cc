#include "worker/model/cuda/recorded_step.h"

#include <ATen/cuda/CUDAEvent.h>
#include <ATen/cuda/CUDAGraph.h>
#include <ATen/ops/zeros.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include <array>
#include <map>
#include <utility>

#include "worker/model/cuda/arguments.h"
#include "worker/model/cuda/attention.h"
#include "worker/model/static_batch.h"

namespace bert::model::cuda {
namespace {

constexpr size_t kBuffers = 2;

// Whether no operation falls back to plain ATen, which cannot read the seed from device memory.
bool CanBeRecorded(const ModelConfig& config, Precision precision) {
  const at::ScalarType dtype = precision == Precision::kBf16 ? at::kBFloat16 : at::kFloat;
  const bool plain_attention = !FlashAttentionServes(dtype, config.hidden_size / config.num_attention_heads);
  if (plain_attention && config.attention_dropout > 0) return false;
  return config.hidden_size % kVector == 0 && config.intermediate_size % kVector == 0 &&
         config.hidden_size <= kNormColumnsMax && !config.next_sentence;
}

class RecordedStep : public MicroStep {
 public:
  RecordedStep(MaskedLm* model, const MicroStepOptions& options)
      : model_(model),
        device_(model->parameters().master().device()),
        graphs_(options.graphs && CanBeRecorded(model->config(), model->parameters().precision())),
        compute_stream_(c10::cuda::getStreamFromPool(/*isHighPriority=*/false, device_.index())),
        copy_stream_(c10::cuda::getStreamFromPool(/*isHighPriority=*/false, device_.index())),
        pool_(at::cuda::graph_pool_handle()),
        nll_(at::zeros({2}, at::TensorOptions(device_).dtype(at::kDouble))) {}

  void Run(const MaskedBatch& batch, uint64_t dropout_seed, double next_sentence_weight,
           const BackwardPass& pass) override {
    // Outside of what is recorded, which always adds.
    if (pass.weights == GradMode::kReplace) model_->parameters().ZeroGrad();
    RunAdding(batch, dropout_seed, next_sentence_weight);
    if (pass.finished_from) pass.finished_from(0);
  }

  MicroStepSums TakeSums() override {
    const at::Tensor nll = nll_.cpu();
    nll_.zero_();
    return {.nll = nll[0].item<double>(),
            .masked_tokens = std::exchange(masked_tokens_, 0),
            .next_sentence_nll = nll[1].item<double>()};
  }

 private:
  void RunAdding(const MaskedBatch& batch, uint64_t dropout_seed, double next_sentence_weight) {
    if (batch.token_type_ids.defined() || batch.next_sentence_labels.defined()) {
      RunDirectly(batch, dropout_seed, next_sentence_weight);
      return;
    }
    // Graphs are recorded on a stream other than the default one. It follows the caller's, and is followed by it.
    const c10::cuda::CUDAStream callers_stream = c10::cuda::getCurrentCUDAStream(device_.index());
    before_.record(callers_stream);
    {
      const c10::cuda::CUDAStreamGuard guard(compute_stream_);
      before_.block(compute_stream_);
      RunHere(batch, dropout_seed);
      after_.record(compute_stream_);
    }
    after_.block(callers_stream);
  }

  // All of one shape.
  struct Recording {
    Recording(const StaticShape& shape, at::Device device)
        : input(shape, at::TensorOptions(device)),
          pinned{StaticBatch(shape, at::TensorOptions().pinned_memory(true)),
                 StaticBatch(shape, at::TensorOptions().pinned_memory(true))},
          staged{StaticBatch(shape, at::TensorOptions(device)), StaticBatch(shape, at::TensorOptions(device))} {}

    StaticBatch input;  // What the graph reads.
    std::array<StaticBatch, kBuffers> pinned;
    std::array<StaticBatch, kBuffers> staged;
    std::array<at::cuda::CUDAEvent, kBuffers> copied;  // From pinned to staged.
    std::array<at::cuda::CUDAEvent, kBuffers> taken;   // From staged to input.
    size_t runs = 0;
    std::unique_ptr<at::cuda::CUDAGraph> graph;
  };

  // On the caller's stream, with copies that wait.
  void RunDirectly(const MaskedBatch& batch, uint64_t dropout_seed, double next_sentence_weight) {
    const LossSums loss = model_->ForwardBackward(ToDevice(batch, device_), dropout_seed, next_sentence_weight);
    nll_[0].add_(loss.nll);
    if (loss.next_sentence.rows > 0) nll_[1].add_(loss.next_sentence.nll);
    masked_tokens_ += loss.masked_tokens;
  }

  void RunHere(const MaskedBatch& batch, uint64_t dropout_seed) {
    const StaticShape shape = ShapeFor(batch);
    const auto [found, added] = recordings_.try_emplace(shape, shape, device_);
    Recording& recording = found->second;
    if (added) {
      // Their memory is being zeroed on this stream.
      for (at::cuda::CUDAEvent& taken : recording.taken) taken.record(compute_stream_);
    }
    BringInput(recording, batch, dropout_seed);
    masked_tokens_ += batch.labels.numel();
    SeedAttentionDropout(device_, dropout_seed);
    if (recording.runs++ == 0 || !graphs_) {
      nll_[0].add_(model_->ForwardBackward(recording.input.batch(), dropout_seed).nll);
      return;
    }
    if (recording.graph == nullptr) Record(recording, dropout_seed);
    recording.graph->replay();
  }

  void BringInput(Recording& recording, const MaskedBatch& batch, uint64_t dropout_seed) {
    const size_t buffer = recording.runs % kBuffers;
    StaticBatch& pinned = recording.pinned[buffer];
    StaticBatch& staged = recording.staged[buffer];
    recording.copied[buffer].synchronize();  // Two batches ago.
    pinned.Fill(batch, dropout_seed);
    {
      const c10::cuda::CUDAStreamGuard guard(copy_stream_);
      recording.taken[buffer].block(copy_stream_);
      staged.CopyFrom(pinned);
      recording.copied[buffer].record(copy_stream_);
    }
    recording.copied[buffer].block(compute_stream_);
    recording.input.CopyFrom(staged);
    recording.taken[buffer].record(compute_stream_);
  }

  // Records without running. Other threads may use the device meanwhile.
  void Record(Recording& recording, uint64_t dropout_seed) {
    // What passes outside of graphs have left goes to the graphs' pool.
    c10::cuda::CUDACachingAllocator::emptyCache();
    auto graph = std::make_unique<at::cuda::CUDAGraph>();
    graph->capture_begin(pool_, cudaStreamCaptureModeThreadLocal);
    const PassSeed seed(dropout_seed, recording.input.seed());
    nll_[0].add_(model_->ForwardBackward(recording.input.batch(), seed).nll);
    graph->capture_end();
    recording.graph = std::move(graph);
  }

  MaskedLm* const model_;
  const at::Device device_;
  const bool graphs_;
  const c10::cuda::CUDAStream compute_stream_;
  const c10::cuda::CUDAStream copy_stream_;
  const c10::MempoolId_t pool_;
  at::cuda::CUDAEvent before_;
  at::cuda::CUDAEvent after_;
  at::Tensor nll_;  // fp64 [2]: of masked tokens, and of next sentences.
  int64_t masked_tokens_ = 0;
  std::map<StaticShape, Recording> recordings_;
};

}  // namespace

std::unique_ptr<MicroStep> MakeRecordedStep(MaskedLm* model, const MicroStepOptions& options) {
  return std::make_unique<RecordedStep>(model, options);
}

}  // namespace bert::model::cuda
