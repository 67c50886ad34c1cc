#include "worker/trainer/checkpoint.h"

#include <ATen/ops/rand.h>
#include <ATen/ops/zeros_like.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "common/clock.h"
#include "common/digest.h"
#include "common/files.h"
#include "worker/collective/collective.h"
#include "worker/trainer/checkpoint_writer.h"
#include "worker/trainer/fake_coordinator.h"
#include "worker/trainer/file_size_limit.h"
#include "worker/trainer/rank_threads.h"
#include "worker/trainer/restore.h"
#include "worker/trainer/synthetic_batches.h"

namespace bert::trainer {
namespace {

using ::testing::HasSubstr;

TrainingState State(int64_t step) {
  return {.job_id = "job",
          .step = step,
          .seed = 3,
          .total_steps = 100,
          .warmup_steps = 10,
          .learning_rate = 1e-3,
          .global_batch_size = 8,
          .max_seq_len = kSyntheticWidth,
          .deterministic = true,
          .lanes = 2,
          .dataset = "data",
          .dataset_digest = "xxh128:d"};
}

std::unique_ptr<model::MaskedLm> NewModel(uint64_t seed, model::ModelConfig config = SyntheticModel()) {
  auto model = model::MaskedLm::Create(config, model::Precision::kBf16, at::kCPU);
  EXPECT_TRUE(model.ok()) << model.status();
  (*model)->InitializeWeights(seed);
  return *std::move(model);
}

class CheckpointTest : public ::testing::Test {
 protected:
  void SetUp() override {
    root_ = absl::StrCat(::testing::TempDir(), "/checkpoint_test-", getpid());
    job_directory_ = root_ + "/job";
    ASSERT_TRUE(MakeDirectories(job_directory_).ok());
    model_ = NewModel(1);
  }
  void TearDown() override { ASSERT_TRUE(RemoveTree(root_).ok()); }

  CheckpointContent Content(int64_t step, int64_t generation = 1) {
    return {.config = model_->config(),
            .infos = model_->parameters().infos(),
            .tokenizer_files = {{"vocab.txt", "[PAD]\n"}, {"tokenizer.json", "{}"}},
            .state = State(step),
            .tensors = Tensors(),
            .generation = generation};
  }
  CheckpointTensors Tensors() {
    return {.master = model_->parameters().master().clone(),
            .exp_avg = at::rand({model_->parameters().size()}),
            .exp_avg_sq = at::rand({model_->parameters().size()})};
  }
  WrittenCheckpoint Write(const CheckpointContent& content) {
    const auto written = WriteCheckpoint(content, job_directory_, [] { return false; });
    EXPECT_TRUE(written.ok()) << written.status();
    return *written;
  }
  std::vector<std::string> Entries() const {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(job_directory_)) {
      names.push_back(entry.path().filename().string());
    }
    std::sort(names.begin(), names.end());
    return names;
  }
  CheckpointWriter::Options WriterOptions() {
    return {.job_directory = job_directory_,
            .config = model_->config(),
            .infos = model_->parameters().infos(),
            .tokenizer_files = {{"vocab.txt", "[PAD]\n"}}};
  }

  std::string root_;
  std::string job_directory_;
  std::unique_ptr<model::MaskedLm> model_;
};

TEST_F(CheckpointTest, GivesBackWhatWasWritten) {
  const CheckpointContent content = Content(20);
  const WrittenCheckpoint written = Write(content);
  EXPECT_EQ(written.directory, job_directory_ + "/step-00000020");
  EXPECT_EQ(written.digest, Digest(*ReadFile(written.directory + "/manifest.json")));
  EXPECT_NEAR(static_cast<double>(written.size_bytes), static_cast<double>(CheckpointBytes(content)), 64 << 10);
  EXPECT_TRUE(VerifyCheckpoint(written.directory, written.digest).ok());
  EXPECT_EQ(*ReadTrainingState(written.directory), content.state);
  EXPECT_EQ(*ReadFile(written.directory + "/tokenizer.json"), "{}");

  const auto other = NewModel(2);
  at::Tensor exp_avg = at::zeros_like(content.tensors.exp_avg);
  at::Tensor exp_avg_sq = at::zeros_like(content.tensors.exp_avg);
  ASSERT_TRUE(LoadCheckpoint(written.directory, *other, exp_avg, exp_avg_sq).ok());
  EXPECT_TRUE(other->parameters().master().equal(content.tensors.master));
  EXPECT_TRUE(exp_avg.equal(content.tensors.exp_avg));
  EXPECT_TRUE(exp_avg_sq.equal(content.tensors.exp_avg_sq));
}

// A node that was suspended may go on with a generation that is long over, whichever of the two comes first.
TEST_F(CheckpointTest, GenerationsDoNotReplaceEachOthersCheckpoints) {
  const WrittenCheckpoint newer = Write(Content(20, 2));
  const WrittenCheckpoint stale = Write(Content(20, 1));
  const WrittenCheckpoint newest = Write(Content(20, 13));
  EXPECT_EQ(Entries(), (std::vector<std::string>{"step-00000020", "step-00000020-g13", "step-00000020-g2"}));
  for (const WrittenCheckpoint& written : {newer, stale, newest}) {
    EXPECT_TRUE(VerifyCheckpoint(written.directory, written.digest).ok()) << written.directory;
  }
}

TEST_F(CheckpointTest, NeverReplacesACheckpoint) {
  const WrittenCheckpoint first = Write(Content(20));
  EXPECT_FALSE(WriteCheckpoint(Content(20), job_directory_, [] { return false; }).ok());
  EXPECT_TRUE(VerifyCheckpoint(first.directory, first.digest).ok());
  EXPECT_EQ(Entries(), std::vector<std::string>{"step-00000020"});
}

TEST_F(CheckpointTest, EveryDamagedFileIsNamed) {
  const std::vector<std::string> files = {"config.json",         "model.safetensors", "optimizer.safetensors",
                                          "training_state.json", "vocab.txt",         "tokenizer.json",
                                          "manifest.json"};
  for (const std::string& file : files) {
    ASSERT_TRUE(RemoveTree(CheckpointDirectory(job_directory_, 20, 1)).ok());
    const WrittenCheckpoint written = Write(Content(20));
    const std::string path = absl::StrCat(written.directory, "/", file);
    std::string bytes = *ReadFile(path);
    bytes[bytes.size() / 2] ^= 1;
    ASSERT_TRUE(WriteFile(path, bytes).ok());
    const absl::Status damaged = VerifyCheckpoint(written.directory, written.digest);
    EXPECT_EQ(damaged.code(), absl::StatusCode::kDataLoss) << damaged;
    EXPECT_THAT(damaged.message(), HasSubstr(path));
    std::filesystem::remove(path);
    const absl::Status missing = VerifyCheckpoint(written.directory, written.digest);
    EXPECT_EQ(missing.code(), absl::StatusCode::kNotFound) << missing;
    EXPECT_THAT(missing.message(), HasSubstr(path));
  }
}

TEST_F(CheckpointTest, ACancelledWriteLeavesNothing) {
  const auto written = WriteCheckpoint(Content(20), job_directory_, [] { return true; });
  EXPECT_EQ(written.status().code(), absl::StatusCode::kCancelled);
  EXPECT_TRUE(Entries().empty());
}

TEST_F(CheckpointTest, RefusesATokenizerFileThatIsAPath) {
  CheckpointContent content = Content(20);
  content.tokenizer_files.push_back({"../evil", "x"});
  const auto written = WriteCheckpoint(content, job_directory_, [] { return false; });
  EXPECT_EQ(written.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(Entries().empty());
}

TEST_F(CheckpointTest, RemovesTheTemporariesOfEarlierGenerations) {
  for (const char* name : {"/.tmp-1-abc", "/.tmp-9-abc", "/.tmp-10-abc", "/.tmp-mine"}) {
    ASSERT_TRUE(MakeDirectories(job_directory_ + name).ok());
  }
  Write(Content(20));
  ASSERT_TRUE(RemoveTemporaries(job_directory_, 10).ok());
  EXPECT_EQ(Entries(), (std::vector<std::string>{".tmp-10-abc", ".tmp-mine", "step-00000020"}));
  EXPECT_TRUE(RemoveTemporaries(job_directory_ + "/none", 10).ok());
}

TEST_F(CheckpointTest, RemovesWhatEarlierGenerationsDidNotCommit) {
  for (const char* name : {"step-00000010", "step-00000020", "step-00000020-g2", "step-00000030-g3", "step-00000030-g4",
                           "step-00000040-g10", "step-best", "step-00000010-good", "step-00000010.old"}) {
    ASSERT_TRUE(MakeDirectories(absl::StrCat(job_directory_, "/", name, "/files")).ok());
  }
  ASSERT_TRUE(RemoveUncommitted(job_directory_, 4, {"/mnt/job/step-00000010", "/mnt/job/step-00000020-g2"}).ok());
  EXPECT_EQ(Entries(),
            (std::vector<std::string>{"step-00000010", "step-00000010-good", "step-00000010.old", "step-00000020-g2",
                                      "step-00000030-g4", "step-00000040-g10", "step-best"}));
  EXPECT_TRUE(RemoveUncommitted(job_directory_ + "/none", 4, {}).ok());
}

TEST_F(CheckpointTest, AFullDiskCostsOneCheckpointAndNothingElse) {
  FakeCoordinator coordinator;
  CheckpointWriter writer(&coordinator, WriterOptions());
  {
    const FileSizeLimit limit(4096);
    writer.Start(State(10), Tensors());
    const absl::Status status = writer.Wait();
    EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
    EXPECT_THAT(status.message(), HasSubstr(job_directory_));
    EXPECT_THAT(status.message(), HasSubstr("MiB"));
    EXPECT_THAT(status.message(), HasSubstr("make room"));
  }
  EXPECT_TRUE(Entries().empty());
  writer.Start(State(20), Tensors());
  EXPECT_TRUE(writer.Wait().ok());
  EXPECT_EQ(Entries(), std::vector<std::string>{"step-00000020"});
  ASSERT_EQ(coordinator.commits().size(), 1u);
  EXPECT_EQ(coordinator.commits()[0].step, 20);
}

TEST_F(CheckpointTest, CommitsAndDeletesWhatWasDropped) {
  const WrittenCheckpoint old = Write(Content(10));
  FakeCoordinator coordinator;
  coordinator.Drop({old.directory, root_, job_directory_ + "/../elsewhere/step-00000001"});
  CheckpointWriter writer(&coordinator, WriterOptions());
  const CheckpointTensors tensors = Tensors();
  writer.Start(State(20), tensors);
  // The copy is the writer's: what happens to the tensors now is the next step's.
  tensors.exp_avg.zero_();
  ASSERT_TRUE(writer.Wait().ok());
  EXPECT_TRUE(writer.Idle());
  ASSERT_EQ(coordinator.commits().size(), 1u);
  const CheckpointCommit commit = coordinator.commits()[0];
  EXPECT_EQ(commit.step, 20);
  EXPECT_FALSE(commit.request_id.empty());
  EXPECT_TRUE(VerifyCheckpoint(commit.directory, commit.digest).ok());
  EXPECT_EQ(Entries(), std::vector<std::string>{"step-00000020"});
  at::Tensor exp_avg = at::zeros_like(tensors.exp_avg);
  at::Tensor exp_avg_sq = at::zeros_like(tensors.exp_avg);
  ASSERT_TRUE(LoadCheckpoint(commit.directory, *NewModel(2), exp_avg, exp_avg_sq).ok());
  EXPECT_GT(exp_avg.sum().item<double>(), 0);
}

TEST_F(CheckpointTest, CommitsAgainUntilTheCoordinatorAnswers) {
  FakeCoordinator coordinator;
  coordinator.Answer(absl::UnavailableError("down"));
  CheckpointWriter writer(&coordinator, WriterOptions());
  writer.Start(State(20), Tensors());
  coordinator.AwaitCommitAttempts(1);
  coordinator.Answer(absl::ResourceExhaustedError("no thread is left"));
  coordinator.AwaitCommitAttempts(3);
  EXPECT_FALSE(writer.Idle());
  coordinator.Answer(absl::OkStatus());
  EXPECT_TRUE(writer.Wait().ok());
  EXPECT_EQ(coordinator.commits().size(), 1u);
}

TEST_F(CheckpointTest, AStaleCommitIsAnError) {
  FakeCoordinator coordinator;
  coordinator.Answer(absl::FailedPreconditionError("generation 2 exists"));
  CheckpointWriter writer(&coordinator, WriterOptions());
  writer.Start(State(20), Tensors());
  EXPECT_EQ(writer.Wait().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(Entries().empty()) << "it will never exist for anyone";
}

TEST_F(CheckpointTest, ACommitThatMayHaveBeenCarriedOutKeepsTheCheckpoint) {
  FakeCoordinator coordinator;
  coordinator.Answer(absl::DeadlineExceededError("the answer is lost"));
  CheckpointWriter writer(&coordinator, WriterOptions());
  writer.Start(State(20), Tensors());
  coordinator.AwaitCommitAttempts(1);
  coordinator.Answer(absl::FailedPreconditionError("generation 2 exists"));
  EXPECT_EQ(writer.Wait().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(Entries(), std::vector<std::string>{"step-00000020"});
}

TEST_F(CheckpointTest, CancelledBeforeItsCommitItLeavesNothing) {
  FakeCoordinator coordinator;
  CheckpointWriter::Options options = WriterOptions();
  std::atomic<bool> asked = false;
  options.steps_reported = [&](int64_t) {
    asked = true;
    asked.notify_one();
    return false;
  };
  CheckpointWriter writer(&coordinator, options);
  writer.Start(State(20), Tensors());
  asked.wait(false);
  EXPECT_EQ(Entries(), std::vector<std::string>{"step-00000020"});
  EXPECT_TRUE(writer.Cancel(absl::Seconds(60)));
  EXPECT_EQ(writer.Wait().code(), absl::StatusCode::kCancelled);
  EXPECT_TRUE(Entries().empty());
  EXPECT_TRUE(coordinator.commits().empty());
}

TEST_F(CheckpointTest, CancelEndsAWriterThatWaitsForTheCoordinator) {
  FakeCoordinator coordinator;
  coordinator.Answer(absl::UnavailableError("down"));
  CheckpointWriter writer(&coordinator, WriterOptions());
  writer.Start(State(20), Tensors());
  coordinator.AwaitCommitAttempts(1);
  EXPECT_TRUE(writer.Cancel(absl::Seconds(60)));
  EXPECT_EQ(writer.Wait().code(), absl::StatusCode::kCancelled);
}

struct Restored {
  absl::StatusOr<int64_t> step = 0;
  at::Tensor master;
  at::Tensor compute;
  at::Tensor exp_avg;
  at::Tensor exp_avg_sq;
};

Restored RestoreAt(collective::Collective& group, const std::vector<ResumePoint>& points, const TrainingState& wanted,
                   const model::ModelConfig& config = SyntheticModel()) {
  const auto model = NewModel(1000 + group.rank(), config);
  AdamW optimizer(&model->parameters(), {});
  Restored restored;
  restored.step = Restore(points, wanted, *model, optimizer, group);
  restored.master = model->parameters().master();
  restored.compute = model->parameters().compute();
  restored.exp_avg = optimizer.exp_avg();
  restored.exp_avg_sq = optimizer.exp_avg_sq();
  return restored;
}

TEST_F(CheckpointTest, EveryRankGetsWhatRankZeroLoads) {
  const CheckpointContent content = Content(20);
  const WrittenCheckpoint written = Write(content);
  RunRanks(2, [&](collective::Collective& group) {
    // The other rank does not see the directory.
    const std::string directory = group.rank() == 0 ? written.directory : "/nowhere";
    const Restored restored = RestoreAt(group, {{20, directory, written.digest}}, State(0));
    ASSERT_TRUE(restored.step.ok()) << restored.step.status();
    EXPECT_EQ(*restored.step, 20);
    EXPECT_TRUE(restored.master.equal(content.tensors.master));
    EXPECT_TRUE(restored.compute.equal(content.tensors.master.to(at::kBFloat16)));
    EXPECT_TRUE(restored.exp_avg.equal(content.tensors.exp_avg));
    EXPECT_TRUE(restored.exp_avg_sq.equal(content.tensors.exp_avg_sq));
  });
}

TEST_F(CheckpointTest, WithoutResumePointsEveryRankStartsAlike) {
  const at::Tensor expected = NewModel(3)->parameters().master();
  RunRanks(2, [&](collective::Collective& group) {
    const Restored restored = RestoreAt(group, {}, State(0));
    ASSERT_TRUE(restored.step.ok()) << restored.step.status();
    EXPECT_EQ(*restored.step, 0);
    EXPECT_TRUE(restored.master.equal(expected));
  });
}

TEST_F(CheckpointTest, ADamagedCheckpointIsPassedOver) {
  const CheckpointContent good = Content(10);
  const WrittenCheckpoint older = Write(good);
  const WrittenCheckpoint newer = Write(Content(20));
  std::filesystem::resize_file(newer.directory + "/optimizer.safetensors", 100);
  const auto group = collective::Connect({});
  ASSERT_TRUE(group.ok());
  const std::vector<ResumePoint> points = {{20, newer.directory, newer.digest}, {10, older.directory, older.digest}};
  const Restored restored = RestoreAt(**group, points, State(0));
  ASSERT_TRUE(restored.step.ok()) << restored.step.status();
  EXPECT_EQ(*restored.step, 10);
  EXPECT_TRUE(restored.master.equal(good.tensors.master));

  // Where none is left, training anew would hide the loss.
  std::filesystem::remove(older.directory + "/model.safetensors");
  const Restored lost = RestoreAt(**group, points, State(0));
  EXPECT_EQ(lost.step.status().code(), absl::StatusCode::kDataLoss) << lost.step.status();
  EXPECT_THAT(lost.step.status().message(), HasSubstr("model.safetensors"));
}

TEST_F(CheckpointTest, ACheckpointOfSomethingElseIsRefused) {
  const WrittenCheckpoint written = Write(Content(20));
  const std::vector<ResumePoint> points = {{20, written.directory, written.digest}};
  const auto group = collective::Connect({});
  ASSERT_TRUE(group.ok());
  TrainingState other_data = State(0);
  other_data.dataset_digest = "xxh128:e";
  const absl::Status data = RestoreAt(**group, points, other_data).step.status();
  EXPECT_EQ(data.code(), absl::StatusCode::kFailedPrecondition) << data;
  EXPECT_THAT(data.message(), HasSubstr("dataset_digest xxh128:d (job: xxh128:e)"));
  model::ModelConfig other_vocabulary = SyntheticModel();
  other_vocabulary.vocab_size = 32;
  const absl::Status vocabulary = RestoreAt(**group, points, State(0), other_vocabulary).step.status();
  EXPECT_EQ(vocabulary.code(), absl::StatusCode::kFailedPrecondition) << vocabulary;
  EXPECT_THAT(vocabulary.message(), HasSubstr("vocab_size"));
}

}  // namespace
}  // namespace bert::trainer
