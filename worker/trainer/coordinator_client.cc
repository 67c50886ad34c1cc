#include "worker/trainer/coordinator_client.h"

#include <grpcpp/client_context.h>

#include <utility>

#include "bert/v1/checkpoints.grpc.pb.h"
#include "bert/v1/worker.grpc.pb.h"
#include "common/rpc/credentials.h"
#include "common/rpc/status_conversion.h"
#include "common/status_macros.h"

namespace bert::trainer {
namespace {

// Longer than the coordinator itself waits for the ranks of a generation.
constexpr absl::Duration kRendezvousDeadline = absl::Minutes(5);
constexpr absl::Duration kReportDeadline = absl::Seconds(10);
constexpr absl::Duration kCommitDeadline = absl::Seconds(30);
constexpr absl::Duration kListDeadline = absl::Seconds(10);

void FillTime(absl::Time time, google::protobuf::Timestamp& out) {
  const int64_t seconds = absl::ToUnixSeconds(time);
  out.set_seconds(seconds);
  out.set_nanos(static_cast<int32_t>(absl::ToInt64Nanoseconds(time - absl::FromUnixSeconds(seconds))));
}

void FillStep(const StepMetrics& step, v1::StepMetrics& out) {
  out.set_step(step.step);
  out.set_loss(step.loss);
  out.set_learning_rate(step.learning_rate);
  out.set_grad_norm(step.grad_norm);
  out.set_tokens_per_second(step.tokens_per_second);
  out.set_masked_tokens(step.masked_tokens);
  out.set_epoch(step.epoch);
  FillTime(step.time, *out.mutable_time());
  out.set_total_steps(step.total_steps);
  if (step.next_sentence_loss) out.set_next_sentence_loss(*step.next_sentence_loss);
}

void FillValidation(const ValidationMetrics& validation, v1::ValidationMetrics& out) {
  out.set_step(validation.step);
  out.set_loss(validation.loss);
  out.set_perplexity(validation.perplexity);
  out.set_accuracy(validation.accuracy);
  out.set_masked_tokens(validation.masked_tokens);
  if (validation.next_sentence) {
    out.set_next_sentence_loss(validation.next_sentence->loss);
    out.set_next_sentence_accuracy(validation.next_sentence->accuracy);
  }
}

void FillShares(const TimeShares& shares, v1::TimeShares& out) {
  out.set_data_wait(shares.data_wait);
  out.set_compute(shares.compute);
  out.set_all_reduce(shares.all_reduce);
  out.set_optimizer(shares.optimizer);
  out.set_checkpoint(shares.checkpoint);
  out.set_validation(shares.validation);
}

class CoordinatorClient : public Coordinator {
 public:
  CoordinatorClient(const std::shared_ptr<grpc::Channel>& channel, RankIdentity identity)
      : stub_(v1::WorkerService::NewStub(channel)),
        checkpoints_(v1::CheckpointService::NewStub(channel)),
        identity_(std::move(identity)) {}

  absl::StatusOr<Rendezvous> JoinRendezvous(const std::string& store_address) override {
    v1::JoinRendezvousRequest request;
    FillIdentity(request);
    request.set_store_address(store_address);
    grpc::ClientContext context;
    SetDeadline(kRendezvousDeadline, context);
    v1::JoinRendezvousResponse response;
    RETURN_IF_ERROR(FromGrpc(stub_->JoinRendezvous(&context, request, &response)));
    return Rendezvous{response.world_size(), response.store_address()};
  }

  absl::StatusOr<ProgressAnswer> ReportProgress(const ProgressReport& report) override {
    v1::ReportProgressRequest request;
    FillIdentity(request);
    request.set_completed_steps(report.completed_steps);
    for (const StepMetrics& step : report.steps) FillStep(step, *request.add_steps());
    for (const ValidationMetrics& validation : report.validations) {
      FillValidation(validation, *request.add_validations());
    }
    if (report.health.has_value()) {
      FillShares(report.health->time_shares, *request.mutable_time_shares());
      request.set_tokens_per_second(report.health->rates.tokens_per_second);
      request.set_mfu(report.health->rates.mfu);
    }
    request.set_skipped_steps(report.skipped_steps);
    request.set_early_end(report.early_end);
    grpc::ClientContext context;
    SetDeadline(kReportDeadline, context);
    v1::ReportProgressResponse response;
    RETURN_IF_ERROR(FromGrpc(stub_->ReportProgress(&context, request, &response)));
    return ProgressAnswer{response.action() == v1::TRAINER_ACTION_STOP,
                          {response.loaders().begin(), response.loaders().end()}};
  }

  absl::StatusOr<std::vector<std::string>> CommitCheckpoint(const CheckpointCommit& commit) override {
    v1::CommitCheckpointRequest request;
    request.set_request_id(commit.request_id);
    request.set_job_id(identity_.job_id);
    request.set_generation(identity_.generation);
    request.set_step(commit.step);
    request.set_directory(commit.directory);
    request.set_digest(commit.digest);
    request.set_size_bytes(commit.size_bytes);
    request.set_node(identity_.node);
    grpc::ClientContext context;
    SetDeadline(kCommitDeadline, context);
    v1::CommitCheckpointResponse response;
    RETURN_IF_ERROR(FromGrpc(stub_->CommitCheckpoint(&context, request, &response)));
    return std::vector<std::string>(response.dropped_directories().begin(), response.dropped_directories().end());
  }

  absl::StatusOr<std::vector<std::string>> CommittedDirectories() override {
    v1::ListCheckpointsRequest request;
    request.set_job_id(identity_.job_id);
    grpc::ClientContext context;
    SetDeadline(kListDeadline, context);
    v1::ListCheckpointsResponse response;
    RETURN_IF_ERROR(FromGrpc(checkpoints_->ListCheckpoints(&context, request, &response)));
    std::vector<std::string> directories;
    for (const v1::Checkpoint& checkpoint : response.checkpoints()) directories.push_back(checkpoint.directory());
    return directories;
  }

 private:
  template <typename Request>
  void FillIdentity(Request& request) const {
    request.set_job_id(identity_.job_id);
    request.set_generation(identity_.generation);
    request.set_rank(identity_.rank);
  }

  static void SetDeadline(absl::Duration deadline, grpc::ClientContext& context) {
    context.set_deadline(std::chrono::system_clock::now() + absl::ToChronoMilliseconds(deadline));
  }

  const std::unique_ptr<v1::WorkerService::Stub> stub_;
  const std::unique_ptr<v1::CheckpointService::Stub> checkpoints_;
  const RankIdentity identity_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Coordinator>> ConnectCoordinator(const std::string& address,
                                                                const CredentialFlags& credentials,
                                                                const RankIdentity& identity) {
  ASSIGN_OR_RETURN(const auto channel, MakeChannel(address, credentials));
  return std::make_unique<CoordinatorClient>(channel, identity);
}

}  // namespace bert::trainer
