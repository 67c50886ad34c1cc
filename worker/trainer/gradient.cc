#include "worker/trainer/gradient.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <functional>
#include <vector>

#include "common/check.h"
#include "common/status_macros.h"
#include "worker/model/micro_step.h"
#include "worker/trainer/batch_tensors.h"

namespace bert::trainer {
namespace {

// What goes through the group beside the gradients, in fp64: exact for counts, and enough for the loss.
enum Tail { kNll, kMaskedTokens, kTokens, kNextSentenceNll, kStop, kTailSize };

// Elements of each lane that are exchanged at once, which bounds the memory for all lanes.
constexpr int64_t kGatherChunk = 1 << 20;

struct LocalSums {
  double nll = 0;
  int64_t masked_tokens = 0;
  int64_t tokens = 0;
  double next_sentence_nll = 0;
};

// What a row's next-sentence loss weighs beside a masked token's, so that both end as means once the sum is divided by
// the global batch's masked tokens. `masked_tokens` are this rank's.
absl::StatusOr<double> NextSentenceWeight(const model::MaskedLm& model, int64_t masked_tokens, int32_t global_rows,
                                          collective::Collective& group, at::Tensor count) {
  if (!model.config().next_sentence) return 0;
  count.fill_(static_cast<double>(masked_tokens));
  RETURN_IF_ERROR(group.AllReduceSum(count));
  // As the division takes a batch in which nothing is masked.
  return std::max(count.item<double>(), 1.0) / global_rows;
}

// The model's gradient becomes that of rows [rows.begin, rows.end) of the batch, in micro-batches. Tells
// `finished_from`, unless null, how far it is, as BackwardPass does.
template <typename SeedOf>
LocalSums Accumulate(model::MaskedLm& model, model::MicroStep& micro_step, const RowReader& reader, const Part& rows,
                     const GradientOptions& options, double next_sentence_weight, SeedOf seed_of,
                     const std::function<void(int64_t)>& finished_from = nullptr) {
  if (rows.size() == 0) {
    model.parameters().ZeroGrad();
    if (finished_from) finished_from(0);
  }
  int64_t number = 0;
  for (int64_t begin = rows.begin; begin < rows.end; begin += options.micro_batch_size, ++number) {
    const int64_t end = std::min<int64_t>(begin + options.micro_batch_size, rows.end);
    const model::MaskedBatch batch = reader.Tensors(static_cast<int32_t>(begin), static_cast<int32_t>(end),
                                                    options.max_seq_len, model.config().pad_token_id);
    micro_step.Run(batch, seed_of(begin, number), next_sentence_weight,
                   {.weights = number == 0 ? model::GradMode::kReplace : model::GradMode::kAdd,
                    .finished_from = end == rows.end ? finished_from : nullptr});
  }
  const model::MicroStepSums sums = micro_step.TakeSums();
  return {.nll = sums.nll,
          .masked_tokens = sums.masked_tokens,
          .tokens = reader.TokenCount(static_cast<int32_t>(rows.begin), static_cast<int32_t>(rows.end)),
          .next_sentence_nll = sums.next_sentence_nll};
}

void FillTail(const LocalSums& sums, bool stop, double* tail) {
  tail[kNll] = sums.nll;
  tail[kMaskedTokens] = static_cast<double>(sums.masked_tokens);
  tail[kTokens] = static_cast<double>(sums.tokens);
  tail[kNextSentenceNll] = sums.next_sentence_nll;
  tail[kStop] = stop ? 1 : 0;
}

StepTotals ReadTail(const double* tail) {
  return {.nll = tail[kNll],
          .masked_tokens = static_cast<int64_t>(tail[kMaskedTokens]),
          .tokens = static_cast<int64_t>(tail[kTokens]),
          .next_sentence_nll = tail[kNextSentenceNll],
          .stop = tail[kStop] > 0};
}

class FlatGradient : public GradientComputer {
 public:
  FlatGradient(model::MaskedLm* model, collective::Collective* group, StepTime* time, const GradientOptions& options)
      : model_(model),
        micro_step_(model::MakeMicroStep(model)),
        group_(group),
        time_(time),
        options_(options),
        rows_(PartOf(options.global_batch_size, group->rank(), group->world_size())),
        tail_(at::zeros({kTailSize}, model->parameters().grad().options().dtype(at::kDouble))),
        buckets_(model->parameters().grad(), group, options.buckets) {}

  Part rows() const override { return rows_; }

  absl::StatusOr<StepTotals> Compute(int64_t step, const sampling::RowBatch& batch, bool stop) override {
    at::Tensor tail = at::zeros({kTailSize}, at::kDouble);
    const RowReader reader(batch);
    BERT_CHECK(reader.row_count() == rows_.size()) << reader.row_count();
    ASSIGN_OR_RETURN(const double weight,
                     NextSentenceWeight(*model_, reader.MaskedCount(0, reader.row_count()), options_.global_batch_size,
                                        *group_, tail_.slice(0, 0, 1)));
    {
      const PhaseTimer timer(time_, Phase::kCompute);
      buckets_.Start();
      const LocalSums sums = Accumulate(
          *model_, *micro_step_, reader, {0, rows_.size()}, options_, weight,
          [&](int64_t begin, int64_t) { return DropoutSeed(options_.seed, step, rows_.begin + begin, 0); },
          [&](int64_t offset) { buckets_.FinishedFrom(offset); });
      FillTail(sums, stop, tail.mutable_data_ptr<double>());
    }
    const PhaseTimer timer(time_, Phase::kAllReduce);
    tail_.copy_(tail);
    RETURN_IF_ERROR(buckets_.Finish());
    RETURN_IF_ERROR(group_->AllReduceSum(tail_));
    tail.copy_(tail_);
    return ReadTail(tail.const_data_ptr<double>());
  }

 private:
  model::MaskedLm* const model_;
  const std::unique_ptr<model::MicroStep> micro_step_;
  collective::Collective* const group_;
  StepTime* const time_;
  const GradientOptions options_;
  const Part rows_;
  at::Tensor tail_;
  GradientBuckets buckets_;
};

class LaneGradient : public GradientComputer {
 public:
  LaneGradient(model::MaskedLm* model, collective::Collective* group, StepTime* time, const GradientOptions& options,
               int lanes)
      : model_(model),
        micro_step_(model::MakeMicroStep(model)),
        group_(group),
        time_(time),
        options_(options),
        lanes_(lanes),
        own_(PartOf(lanes, group->rank(), group->world_size())),
        rows_({LaneRows(own_.begin).begin, LaneRows(own_.end - 1).end}) {
    BERT_CHECK(group->world_size() <= lanes && lanes <= options.global_batch_size) << lanes << " lanes";
    for (int rank = 0; rank < group->world_size(); ++rank) {
      const Part part = PartOf(lanes, rank, group->world_size());
      lanes_per_rank_max_ = std::max(lanes_per_rank_max_, part.size());
      for (int64_t lane = part.begin; lane < part.end; ++lane) place_.push_back({rank, lane - part.begin});
    }
    const int64_t n = model->parameters().size();
    const at::TensorOptions device = model->parameters().grad().options();
    gradients_ = at::zeros({own_.size(), n}, device);
    const int64_t chunk = std::min(kGatherChunk, n);
    sent_ = at::zeros({lanes_per_rank_max_ * chunk}, device);
    received_ = at::zeros({group->world_size() * lanes_per_rank_max_ * chunk}, device);
    sent_tail_ = at::zeros({lanes_per_rank_max_ * kTailSize}, device.dtype(at::kDouble));
    received_tail_ = at::zeros({group->world_size() * lanes_per_rank_max_ * kTailSize}, device.dtype(at::kDouble));
  }

  Part rows() const override { return rows_; }

  absl::StatusOr<StepTotals> Compute(int64_t step, const sampling::RowBatch& batch, bool stop) override {
    RETURN_IF_ERROR(ComputeLanes(step, batch, stop));
    const PhaseTimer timer(time_, Phase::kAllReduce);
    RETURN_IF_ERROR(group_->AllGather(sent_tail_, received_tail_));
    const at::Tensor tails = received_tail_.view({-1, kTailSize});
    const StepTotals totals = ReadTail(Sum(tails, 0, lanes_).cpu().const_data_ptr<double>());
    RETURN_IF_ERROR(SumGradients());
    return totals;
  }

 private:
  // Where a lane's gradient is: the rank that computed it, and its number among that rank's.
  struct Place {
    int64_t rank = 0;
    int64_t index = 0;
  };

  Part LaneRows(int64_t lane) const { return PartOf(options_.global_batch_size, lane, lanes_); }

  absl::Status ComputeLanes(int64_t step, const sampling::RowBatch& batch, bool stop) {
    const RowReader reader(batch);
    BERT_CHECK(reader.row_count() == rows_.size()) << reader.row_count();
    ASSIGN_OR_RETURN(const double weight,
                     NextSentenceWeight(*model_, reader.MaskedCount(0, reader.row_count()), options_.global_batch_size,
                                        *group_, sent_tail_.slice(0, 0, 1)));
    const PhaseTimer timer(time_, Phase::kCompute);
    at::Tensor tails = at::zeros({lanes_per_rank_max_, kTailSize}, at::kDouble);
    for (int64_t lane = own_.begin; lane < own_.end; ++lane) {
      const Part rows = LaneRows(lane);
      const LocalSums sums =
          Accumulate(*model_, *micro_step_, reader, {rows.begin - rows_.begin, rows.end - rows_.begin}, options_,
                     weight, [&](int64_t, int64_t number) { return DropoutSeed(options_.seed, step, lane, number); });
      gradients_[lane - own_.begin].copy_(model_->parameters().grad());
      FillTail(sums, stop, tails.mutable_data_ptr<double>() + (lane - own_.begin) * kTailSize);
    }
    sent_tail_.copy_(tails.view(-1));
    return absl::OkStatus();
  }

  absl::Status SumGradients() {
    const int64_t n = model_->parameters().size();
    for (int64_t begin = 0; begin < n; begin += kGatherChunk) {
      const int64_t count = std::min(kGatherChunk, n - begin);
      const at::Tensor sent = sent_.slice(0, 0, lanes_per_rank_max_ * count);
      const at::Tensor received = received_.slice(0, 0, group_->world_size() * lanes_per_rank_max_ * count);
      sent.view({-1, count}).slice(0, 0, own_.size()).copy_(gradients_.slice(1, begin, begin + count));
      RETURN_IF_ERROR(group_->AllGather(sent, received));
      model_->parameters().grad().slice(0, begin, begin + count).copy_(Sum(received.view({-1, count}), 0, lanes_));
    }
    return absl::OkStatus();
  }

  // The tree over lanes [first, last): halves, each summed by itself. `gathered` is [world_size * lanes_per_rank_max,
  // count]; a sum overwrites its first lane.
  at::Tensor Sum(const at::Tensor& gathered, int64_t first, int64_t last) const {
    if (last - first == 1) return gathered[place_[first].rank * lanes_per_rank_max_ + place_[first].index];
    const int64_t middle = (first + last) / 2;
    at::Tensor left = Sum(gathered, first, middle);
    left.add_(Sum(gathered, middle, last));
    return left;
  }

  model::MaskedLm* const model_;
  const std::unique_ptr<model::MicroStep> micro_step_;
  collective::Collective* const group_;
  StepTime* const time_;
  const GradientOptions options_;
  const int64_t lanes_;
  const Part own_;
  const Part rows_;
  int64_t lanes_per_rank_max_ = 0;
  std::vector<Place> place_;  // [lanes]
  at::Tensor gradients_;      // fp32 [own lanes, n]
  // Flat buffers of AllGather; a rank with fewer lanes than another sends some that nobody reads.
  at::Tensor sent_;
  at::Tensor received_;
  at::Tensor sent_tail_;
  at::Tensor received_tail_;
};

}  // namespace

std::unique_ptr<GradientComputer> MakeFlatGradient(model::MaskedLm* model, collective::Collective* group,
                                                   StepTime* time, const GradientOptions& options) {
  return std::make_unique<FlatGradient>(model, group, time, options);
}

std::unique_ptr<GradientComputer> MakeLaneGradient(model::MaskedLm* model, collective::Collective* group,
                                                   StepTime* time, const GradientOptions& options, int lanes) {
  return std::make_unique<LaneGradient>(model, group, time, options, lanes);
}

}  // namespace bert::trainer
