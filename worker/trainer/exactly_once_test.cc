// Random histories of jobs and loaders: whatever the world size, however many loaders there are, wherever one is killed
// and wherever a job resumes, each step's rows are the same bytes, and an epoch has each row exactly once.
//
// A failure prints the history's seed; BERT_SEED=<seed> runs that one alone.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/clock.h"
#include "common/files.h"
#include "common/rpc/credentials.h"
#include "common/rpc/server.h"
#include "dataloader/corpus/synthetic_dataset.h"
#include "dataloader/sampling/batch_sampler.h"
#include "dataloader/service/dataloader_service.h"
#include "worker/trainer/batch_stream.h"
#include "worker/trainer/row_split.h"

namespace bert::trainer {
namespace {

using sampling::RowBatch;
using sampling::RowFormat;
using Tokens = std::vector<int32_t>;

constexpr int32_t kVocabSize = 1000;
constexpr int kHistories = 16;
constexpr absl::Duration kPatience = absl::Seconds(60);

CredentialFlags Insecure() {
  CredentialFlags credentials;
  credentials.insecure = true;
  return credentials;
}

class Loader {
 public:
  Loader(const std::string& data_root, const std::string& listen)
      : service_(*loader::DataloaderService::Create({.data_root = data_root, .index_directory = data_root + "/.rows"},
                                                    &metrics_, &RealClock())),
        server_(*RpcServer::Start(
            {.listen = listen, .credentials = Insecure(), .configure = [this](grpc::ServerBuilder& builder) {
               builder.RegisterService(service_.get());
             }})) {}
  // Without a farewell: streams break wherever they are.
  ~Loader() { server_->Stop(absl::ZeroDuration()); }

  const std::string& address() const { return server_->address(); }

 private:
  loader::LoaderMetrics metrics_;
  std::unique_ptr<loader::DataloaderService> service_;
  std::unique_ptr<RpcServer> server_;
};

// The parts of documents in a batch's rows, as they were before masking.
std::vector<Tokens> TextsOf(RowBatch batch, const corpus::VocabularyFacts& vocabulary) {
  size_t segment = 0;
  size_t masked = 0;
  size_t begin = 0;
  for (int32_t row = 0; row < batch.row_count; ++row) {
    for (int i = 0; i < batch.masked_counts[static_cast<size_t>(row)]; ++i, ++masked) {
      batch.token_ids[begin + batch.masked_positions[masked]] = batch.labels[masked];
    }
    for (int i = 0; i < batch.segment_counts[static_cast<size_t>(row)]; ++i) begin += batch.segment_lengths[segment++];
  }
  std::vector<Tokens> texts;
  for (const int32_t id : batch.token_ids) {
    if (id == vocabulary.cls_id) {
      texts.emplace_back();
    } else if (id == vocabulary.sep_id) {
      texts.emplace_back();
    } else {
      texts.back().push_back(id);
    }
  }
  std::erase_if(texts, [](const Tokens& text) { return text.empty(); });
  return texts;
}

class History {
 public:
  explicit History(uint64_t seed)
      : random_(seed),
        root_(absl::StrCat(::testing::TempDir(), "/exactly_once_test-", getpid(), "-", seed)),
        format_(static_cast<RowFormat>(Between(1, 3))),
        max_seq_len_(static_cast<int32_t>(Between(16, 128))),
        global_rows_(static_cast<int32_t>(Between(1, 48))),
        masking_{.whole_word = Between(0, 1) == 1, .ngram_max = static_cast<int32_t>(Between(1, 3))},
        seed_(random_()) {
    corpus::SyntheticOptions options;
    options.vocab_size = kVocabSize;
    options.seed = random_();
    options.train.clear();
    for (int64_t shard = Between(1, 3); shard > 0; --shard) {
      options.train.push_back(corpus::SyntheticLengths(random_(), Between(5, 60), Between(10, 200)));
    }
    EXPECT_TRUE(corpus::WriteSyntheticDataset(root_ + "/data", options).ok());
    dataset_ = *corpus::Dataset::Open(root_ + "/data");
    rows_ = *sampling::RowIndex::Build(dataset_, corpus::SplitKind::kTrain, max_seq_len_, format_);
    // Two epochs and a bit, at least.
    steps_ = 2 * rows_->rows() / global_rows_ + 2;
  }
  ~History() { EXPECT_TRUE(RemoveTree(root_).ok()); }

  void Run() {
    for (int64_t count = Between(1, 4); count > 0; --count) StartLoader("127.0.0.1:0");
    std::vector<RowBatch> steps;
    while (static_cast<int64_t>(steps.size()) < steps_ && !::testing::Test::HasFatalFailure()) RunGeneration(&steps);
    CheckBytes(steps);
    CheckEpochs(steps);
  }

 private:
  int64_t Between(int64_t low, int64_t high) {
    return low + static_cast<int64_t>(random_() % static_cast<uint64_t>(high - low + 1));
  }

  void StartLoader(const std::string& listen) {
    loaders_.push_back(std::make_unique<Loader>(root_, listen));
    std::vector<std::string> addresses;
    for (const auto& loader : loaders_) addresses.push_back(loader->address());
    list_.Update(addresses);
  }

  // Kills one, or starts one, or restarts one at its old address; one is always there.
  void DisturbLoaders() {
    const auto victim = loaders_.begin() + Between(0, static_cast<int64_t>(loaders_.size()) - 1);
    switch (Between(0, 2)) {
      case 0:
        StartLoader("127.0.0.1:0");
        if (loaders_.size() > 4) loaders_.erase(loaders_.begin());
        break;
      case 1:
        // The list still names it: the coordinator has not noticed yet.
        if (loaders_.size() > 1) loaders_.erase(victim);
        break;
      default: {
        const std::string address = (*victim)->address();
        loaders_.erase(victim);
        StartLoader(address);
      }
    }
  }

  // A generation of some world size that ends after some steps, its ranks not all equally far.
  void RunGeneration(std::vector<RowBatch>* steps) {
    const auto first_step = static_cast<int64_t>(steps->size());
    const int64_t world_size = Between(1, std::min<int64_t>(5, global_rows_));
    const int64_t last_step = std::min(steps_, first_step + Between(1, 12));
    std::vector<std::unique_ptr<BatchSource>> ranks;
    for (int64_t rank = 0; rank < world_size; ++rank) {
      const Part part = PartOf(global_rows_, rank, world_size);
      auto source = OpenBatchStream(list_, credentials_,
                                    {.dataset = "data",
                                     .dataset_digest = dataset_->digest(),
                                     .seed = seed_,
                                     .masking = {.whole_word = masking_.whole_word, .ngram_max = masking_.ngram_max},
                                     .max_seq_len = max_seq_len_,
                                     .row_format = format_,
                                     .vocab_size = kVocabSize,
                                     .range = {.global_rows = global_rows_,
                                               .row_begin = static_cast<int32_t>(part.begin),
                                               .row_end = static_cast<int32_t>(part.end),
                                               .first_step = first_step,
                                               .last_step = steps_},
                                     .prefetch_steps = static_cast<int>(Between(1, 4)),
                                     // Down to one row a response, so that steps are cut in the middle.
                                     .response_bytes = Between(1, 64) * 1024,
                                     .first_loader = static_cast<int>(rank),
                                     .give_up_after = kPatience});
      ASSERT_TRUE(source.ok()) << source.status();
      ranks.push_back(*std::move(source));
    }
    for (int64_t step = first_step; step < last_step; ++step) {
      RowBatch whole{.step = step};
      for (const auto& rank : ranks) {
        if (Between(0, 9) == 0) DisturbLoaders();
        const auto part = rank->NextStep();
        ASSERT_TRUE(part.ok()) << part.status();
        whole.Append(*part);
      }
      steps->push_back(std::move(whole));
    }
    // Some ranks are ahead when the generation ends; what they have read is forgotten.
    for (int64_t ahead = Between(0, world_size); ahead > 0 && last_step < steps_; --ahead) {
      ASSERT_TRUE(ranks[static_cast<size_t>(ahead) - 1]->NextStep().ok());
    }
  }

  void CheckBytes(const std::vector<RowBatch>& steps) {
    const auto sampler = *sampling::BatchSampler::Create(
        rows_, {.split = corpus::SplitKind::kTrain, .seed = seed_, .global_batch_size = global_rows_}, masking_);
    for (const RowBatch& step : steps) {
      RowBatch expected;
      ASSERT_TRUE(sampler->FillRows(step.step, 0, global_rows_, &expected).ok());
      ASSERT_EQ(step, expected) << "step " << step.step;
    }
  }

  void CheckEpochs(const std::vector<RowBatch>& steps) {
    std::map<Tokens, int64_t> dataset;
    std::vector<sampling::Piece> pieces;
    for (int64_t row = 0; row < rows_->rows(); ++row) {
      EXPECT_TRUE(rows_->GetPieces(row, &pieces).ok());
      for (const sampling::Piece& piece : pieces) {
        Tokens tokens(static_cast<size_t>(piece.length));
        rows_->split().CopyTokens(piece.begin, piece.length, tokens.data());
        ++dataset[tokens];
      }
    }
    // Each row by itself, since epochs end within steps.
    const auto sampler = *sampling::BatchSampler::Create(
        rows_, {.split = corpus::SplitKind::kTrain, .seed = seed_, .global_batch_size = global_rows_}, masking_);
    std::vector<std::map<Tokens, int64_t>> epochs(2);
    for (const RowBatch& step : steps) {
      for (int32_t row = 0; row < global_rows_; ++row) {
        const int64_t epoch = (step.step * global_rows_ + row) / rows_->rows();
        if (epoch >= 2) continue;
        RowBatch one;
        ASSERT_TRUE(sampler->FillRows(step.step, row, row + 1, &one).ok());
        for (Tokens& text : TextsOf(std::move(one), dataset_->vocabulary())) {
          ++epochs[static_cast<size_t>(epoch)][std::move(text)];
        }
      }
    }
    EXPECT_EQ(epochs[0], dataset);
    EXPECT_EQ(epochs[1], dataset);
  }

  std::mt19937_64 random_;
  const std::string root_;
  const RowFormat format_;
  const int32_t max_seq_len_;
  const int32_t global_rows_;
  const sampling::Masking masking_;
  const uint64_t seed_;
  const CredentialFlags credentials_ = Insecure();
  std::shared_ptr<const corpus::Dataset> dataset_;
  std::shared_ptr<const sampling::RowIndex> rows_;
  int64_t steps_ = 0;
  std::vector<std::unique_ptr<Loader>> loaders_;
  LoaderList list_{std::vector<std::string>()};
};

TEST(ExactlyOnceTest, WhateverHappensToRanksAndLoaders) {
  const char* const only = std::getenv("BERT_SEED");
  for (uint64_t history = 0; history < (only == nullptr ? kHistories : 1); ++history) {
    const uint64_t seed = only == nullptr ? 1000 + history : std::strtoull(only, nullptr, 10);
    SCOPED_TRACE(absl::StrCat("BERT_SEED=", seed));
    History(seed).Run();
    if (::testing::Test::HasFailure()) return;
  }
}

}  // namespace
}  // namespace bert::trainer
