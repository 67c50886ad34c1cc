#include "worker/trainer/batch_stream.h"

#include <grpcpp/client_context.h>
#include <pthread.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <deque>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "bert/v1/dataloader.grpc.pb.h"
#include "common/backoff.h"
#include "common/entropy.h"
#include "common/mutex.h"
#include "common/rpc/credentials.h"
#include "common/rpc/status_conversion.h"
#include "common/status_macros.h"

namespace bert::trainer {
namespace {

using Stream = grpc::ClientReaderWriter<v1::StreamBatchesRequest, v1::StreamBatchesResponse>;

constexpr absl::Duration kRetryInitial = absl::Milliseconds(50);
constexpr absl::Duration kRetryMax = absl::Seconds(2);
constexpr absl::Duration kWarnEvery = absl::Seconds(30);
// A token on the wire, with its share of everything else, at most.
constexpr int64_t kTokenBytesMax = 8;

class BatchStream : public BatchSource {
 public:
  BatchStream(const LoaderList& loaders, const CredentialFlags& credentials, const BatchStreamOptions& options)
      : loaders_(loaders),
        credentials_(credentials),
        options_(options),
        rows_per_response_(static_cast<int32_t>(
            std::clamp<int64_t>(options.response_bytes / (kTokenBytesMax * options.max_seq_len), 1, 1 << 16))),
        next_step_(options.range.first_step) {
    thread_ = std::thread([this] {
      pthread_setname_np(pthread_self(), "batches");
      Prefetch();
    });
  }

  ~BatchStream() override {
    {
      MutexLock lock(&mutex_);
      stopping_ = true;
      if (context_ != nullptr) context_->TryCancel();
      changed_.SignalAll();
    }
    thread_.join();
  }

  absl::StatusOr<sampling::RowBatch> NextStep() override {
    const absl::Time start = absl::Now();
    MutexLock lock(&mutex_);
    absl::Time stalled = start + options_.stall_timeout;
    while (ready_.empty() && final_.ok()) {
      const absl::Time now = absl::Now();
      if (now - start > options_.give_up_after) {
        return absl::DeadlineExceededError(absl::StrCat("no dataloader gave rows within ",
                                                        absl::FormatDuration(options_.give_up_after),
                                                        "; the last said: ", last_error_.message()));
      }
      // The reading thread sits in Read, which only a cancelled call ends.
      if (now > std::max(stalled, last_response_ + options_.stall_timeout)) {
        if (context_ != nullptr) context_->TryCancel();
        stalled = now + options_.stall_timeout;
      }
      changed_.WaitFor(&mutex_, std::min({options_.stall_timeout, options_.give_up_after}) / 4);
    }
    if (ready_.empty()) return final_;
    Ready ready = std::move(ready_.front());
    ready_.pop_front();
    credits_owed_ += ready.responses;
    changed_.SignalAll();
    // Credits go out from here: the reading thread may sit in Read.
    if (stream_ != nullptr) {
      v1::StreamBatchesRequest request;
      request.set_credits(std::exchange(credits_owed_, 0));
      if (request.credits() > 0) stream_->Write(request);
    }
    return std::move(ready.rows);
  }

 private:
  struct Ready {
    sampling::RowBatch rows;
    int32_t responses = 0;
  };

  int32_t ResponsesPerStep() const {
    const int32_t rows = options_.range.row_end - options_.range.row_begin;
    return std::max(1, (rows + rows_per_response_ - 1) / rows_per_response_);
  }

  void Prefetch() {
    Backoff backoff(kRetryInitial, kRetryMax, RandomSeed());
    const auto rank = static_cast<size_t>(options_.first_loader);
    size_t refusals = 0;
    absl::Time refused_since;
    while (true) {
      const std::vector<std::string> addresses = loaders_.Get();
      const int64_t step_before = next_step_;
      const absl::Status status = addresses.empty() ? absl::UnavailableError("no dataloader is known")
                                                    : ReadFrom(addresses[LoaderOf(rank, attempt_, addresses.size())]);
      if (next_step_ > step_before) {
        backoff.Reset();
        refusals = 0;
      }
      refusals = IsPermanent(status) ? refusals + 1 : 0;
      if (refusals == 1) refused_since = absl::Now();
      const absl::Duration patience = absl::IsDataLoss(status) ? options_.damage_patience : absl::ZeroDuration();
      const bool refused_by_all =
          !addresses.empty() && refusals >= addresses.size() && absl::Now() - refused_since >= patience;
      {
        MutexLock lock(&mutex_);
        if (stopping_) return;
        last_error_ = status;
        if (status.ok() || refused_by_all) {
          final_ = status.ok() ? absl::OutOfRangeError("the last step has been read") : status;
          changed_.SignalAll();
          return;
        }
      }
      ++attempt_;
      WarnOfOutage(status);
      MutexLock lock(&mutex_);
      if (!stopping_) changed_.WaitFor(&mutex_, backoff.Next());
      if (stopping_) return;
    }
  }

  // When it begins and from time to time, not at each attempt.
  void WarnOfOutage(const absl::Status& status) {
    const absl::Time now = absl::Now();
    if (next_step_ == warned_step_ && now - warned_at_ < kWarnEvery) return;
    warned_step_ = next_step_;
    warned_at_ = now;
    spdlog::warn("lost the rows of step {}, trying the next dataloader: {}", next_step_ + 1,
                 std::string(status.message()));
  }

  // One loader may be damaged or hold another dataset; only when all refuse is it the job's fault.
  static bool IsPermanent(const absl::Status& status) {
    switch (status.code()) {
      case absl::StatusCode::kNotFound:
      case absl::StatusCode::kFailedPrecondition:
      case absl::StatusCode::kInvalidArgument:
      case absl::StatusCode::kDataLoss:
      case absl::StatusCode::kUnauthenticated:
      case absl::StatusCode::kPermissionDenied:
        return true;
      default:
        return false;
    }
  }

  v1::StreamBatchesRequest OpenRequest(int32_t initial_credits) const {
    v1::StreamBatchesRequest request;
    v1::OpenStream& open = *request.mutable_open();
    open.set_dataset(options_.dataset);
    open.set_dataset_digest(options_.dataset_digest);
    open.set_split(options_.range.split == Split::kTrain ? v1::SPLIT_TRAIN : v1::SPLIT_VALIDATION);
    open.set_seed(options_.seed);
    open.mutable_masking()->set_probability(options_.masking.probability);
    open.mutable_masking()->set_mask_share(options_.masking.mask_share);
    open.mutable_masking()->set_random_share(options_.masking.random_share);
    open.mutable_masking()->set_whole_word(options_.masking.whole_word);
    open.mutable_masking()->set_ngram_max(options_.masking.ngram_max);
    open.mutable_masking()->set_max_predictions_per_seq(options_.masking.max_predictions_per_seq);
    open.set_rows(static_cast<v1::RowFormat>(options_.row_format));
    open.set_max_seq_len(options_.max_seq_len);
    open.set_global_batch_size(options_.range.global_rows);
    open.set_row_begin(options_.range.row_begin);
    open.set_row_end(options_.range.row_end);
    open.set_first_step(next_step_);
    open.set_last_step(options_.range.last_step);
    open.set_rows_per_response(rows_per_response_);
    open.set_initial_credits(initial_credits);
    return request;
  }

  // Reads to the last step from one loader; the error that ended it, annotated with its address.
  absl::Status ReadFrom(const std::string& address) {
    if (next_step_ >= options_.range.last_step) return absl::OkStatus();
    ASSIGN_OR_RETURN(const auto channel, MakeChannel(address, credentials_));
    const auto stub = v1::DataloaderService::NewStub(channel);
    grpc::ClientContext context;
    int32_t initial_credits = 0;
    {
      MutexLock lock(&mutex_);
      while (!stopping_ && !HasRoom()) changed_.Wait(&mutex_);
      if (stopping_) return absl::CancelledError("stopping");
      // The steps that wait here give theirs when they are taken.
      initial_credits = ResponsesPerStep() * (options_.prefetch_steps - static_cast<int32_t>(ready_.size()));
      credits_owed_ = 0;
      context_ = &context;
      last_response_ = absl::Now();
    }
    std::unique_ptr<Stream> stream = stub->StreamBatches(&context);
    const bool opened = stream->Write(OpenRequest(initial_credits));
    {
      MutexLock lock(&mutex_);
      stream_ = stream.get();
    }
    absl::Status status = opened ? ReadSteps(*stream) : absl::OkStatus();
    {
      MutexLock lock(&mutex_);
      stream_ = nullptr;
    }
    // Finish waits for the loader, which may have more to send; where it has ended by itself its status counts.
    if (!status.ok() || next_step_ >= options_.range.last_step) context.TryCancel();
    const absl::Status finished = FromGrpc(stream->Finish());
    {
      MutexLock lock(&mutex_);
      context_ = nullptr;
    }
    if (next_step_ >= options_.range.last_step) return absl::OkStatus();
    // The stream's own end says more than the fact that it ended.
    if (status.ok()) status = finished;
    if (status.ok()) status = absl::UnavailableError("the stream ended early");
    if (status.code() == absl::StatusCode::kCancelled) status = absl::UnavailableError("it fell silent");
    return Annotate(status, absl::StrCat("dataloader ", address));
  }

  bool HasRoom() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return static_cast<int>(ready_.size()) < options_.prefetch_steps;
  }

  // OK when the stream has ended.
  absl::Status ReadSteps(Stream& stream) {
    Ready next;
    v1::StreamBatchesResponse response;
    while (true) {
      const int32_t wanted = options_.range.RowsOf(next_step_);
      if (next.rows.row_count == wanted) {
        if (Push(std::exchange(next, {}))) return absl::OkStatus();
        continue;
      }
      if (!stream.Read(&response)) return absl::OkStatus();
      ++next.responses;
      if (response.row_count() != 0) RETURN_IF_ERROR(Take(response, wanted, next.rows));
      MutexLock lock(&mutex_);
      last_response_ = absl::Now();
    }
  }

  absl::Status Take(const v1::StreamBatchesResponse& response, int32_t wanted, sampling::RowBatch& rows) {
    const int32_t expected = options_.range.row_begin + rows.row_count;
    if (response.step() != next_step_ || response.row_begin() != expected ||
        response.row_count() > wanted - rows.row_count || response.row_count() < 0) {
      return absl::InternalError(absl::StrCat("it sent ", response.row_count(), " rows from ", response.row_begin(),
                                              " of step ", response.step(), "; row ", expected, " of step ", next_step_,
                                              " was next"));
    }
    ASSIGN_OR_RETURN(sampling::RowBatch decoded,
                     sampling::Decode({.step = response.step(),
                                       .row_begin = response.row_begin(),
                                       .row_count = response.row_count(),
                                       .token_ids = response.token_ids(),
                                       .segment_counts = response.segment_counts(),
                                       .segment_lengths = response.segment_lengths(),
                                       .masked_counts = response.masked_counts(),
                                       .masked_positions = response.masked_positions(),
                                       .labels = response.labels(),
                                       .second_begins = response.second_begins(),
                                       .is_next = response.is_next()},
                                      {.vocab_size = options_.vocab_size,
                                       .max_seq_len = options_.max_seq_len,
                                       .sentence_pairs = options_.row_format == sampling::RowFormat::kSentencePair}));
    if (rows.row_count == 0) {
      rows = std::move(decoded);
      // Room for the whole step, so that the responses to come are copied once.
      const auto parts = static_cast<size_t>(wanted / rows.row_count + 1);
      rows.token_ids.reserve(rows.token_ids.size() * parts);
    } else {
      rows.Append(decoded);
    }
    return absl::OkStatus();
  }

  // True after the last step.
  bool Push(Ready ready) {
    MutexLock lock(&mutex_);
    if (ready.rows.row_count == 0) {
      ready.rows.step = next_step_;
      ready.rows.row_begin = options_.range.row_begin;
    }
    ready_.push_back(std::move(ready));
    ++next_step_;
    changed_.SignalAll();
    return next_step_ >= options_.range.last_step;
  }

  const LoaderList& loaders_;
  const CredentialFlags& credentials_;
  const BatchStreamOptions options_;
  const int32_t rows_per_response_;

  // Of the reading thread, which alone changes them.
  size_t attempt_ = 0;
  int64_t next_step_;
  int64_t warned_step_ = -1;
  absl::Time warned_at_ = absl::InfinitePast();

  Mutex mutex_;
  CondVar changed_;
  std::deque<Ready> ready_ ABSL_GUARDED_BY(mutex_);
  int32_t credits_owed_ ABSL_GUARDED_BY(mutex_) = 0;
  // The call under way; null between two.
  grpc::ClientContext* context_ ABSL_GUARDED_BY(mutex_) = nullptr;
  Stream* stream_ ABSL_GUARDED_BY(mutex_) = nullptr;
  absl::Time last_response_ ABSL_GUARDED_BY(mutex_) = absl::InfinitePast();
  absl::Status last_error_ ABSL_GUARDED_BY(mutex_) = absl::UnavailableError("nothing yet");
  // Not OK once no further step will come.
  absl::Status final_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;

  std::thread thread_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<BatchSource>> OpenBatchStream(const LoaderList& loaders,
                                                             const CredentialFlags& credentials,
                                                             const BatchStreamOptions& options) {
  const RowRange& range = options.range;
  if (range.row_begin < 0 || range.row_end <= range.row_begin || range.row_end > range.global_rows) {
    return absl::InvalidArgumentError(
        absl::StrCat("rows [", range.row_begin, ", ", range.row_end, ") of ", range.global_rows));
  }
  return std::make_unique<BatchStream>(loaders, credentials, options);
}

}  // namespace bert::trainer
