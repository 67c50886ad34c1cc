#include "dataloader/corpus/split_writer.h"

#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/check.h"
#include "common/status_macros.h"

namespace bert::corpus {

int64_t SplitState::documents() const {
  int64_t sum = open_documents;
  for (const ShardInfo& shard : shards) sum += shard.documents;
  return sum;
}

int64_t SplitState::tokens() const {
  int64_t sum = open_tokens;
  for (const ShardInfo& shard : shards) sum += shard.tokens;
  return sum;
}

absl::StatusOr<std::unique_ptr<SplitWriter>> SplitWriter::Open(Options options, SplitState state) {
  state.counts.resize(options.vocab_size);
  std::unique_ptr<SplitWriter> writer(new SplitWriter(std::move(options), std::move(state)));
  for (const ShardInfo& shard : writer->state_.shards) {
    const std::string path = absl::StrCat(writer->options_.directory, "/", shard.file);
    std::error_code error;
    const auto bytes = std::filesystem::file_size(path, error);
    if (error || static_cast<int64_t>(bytes) != shard.bytes) {
      return absl::DataLossError(absl::StrCat(path, ": not there, or not the shard that was finished"));
    }
  }
  if (writer->state_.open_documents > 0) {
    ASSIGN_OR_RETURN(
        writer->shard_,
        ShardWriter::Resume(absl::StrCat(writer->options_.directory, "/", writer->NextFile()), writer->token_bytes_,
                            writer->state_.open_documents, writer->state_.open_tokens));
  }
  return writer;
}

SplitWriter::SplitWriter(Options options, SplitState state)
    : options_(std::move(options)),
      token_bytes_(TokenBytesFor(static_cast<int64_t>(options_.vocab_size))),
      state_(std::move(state)) {
  BERT_CHECK(state_.counts.size() == options_.vocab_size);
}

std::string SplitWriter::NextFile() const {
  return absl::StrFormat("%s/%s-%05d.bin", kShardFolder, std::string(SplitName(options_.split)), state_.shards.size());
}

absl::Status SplitWriter::Add(absl::Span<const uint32_t> token_ids, int64_t words) {
  const auto tokens = static_cast<int64_t>(token_ids.size());
  if (shard_ != nullptr && shard_->tokens() + tokens > options_.shard_tokens_max) RETURN_IF_ERROR(FinishShard());
  if (shard_ == nullptr) {
    ASSIGN_OR_RETURN(shard_, ShardWriter::Create(absl::StrCat(options_.directory, "/", NextFile()), token_bytes_));
  }
  RETURN_IF_ERROR(shard_->Append(token_ids));
  ++state_.open_documents;
  state_.open_tokens += tokens;
  state_.words += words;
  for (const uint32_t id : token_ids) ++state_.counts[id];
  return absl::OkStatus();
}

absl::Status SplitWriter::Sync() { return shard_ == nullptr ? absl::OkStatus() : shard_->Sync(); }

absl::Status SplitWriter::FinishShard() {
  ASSIGN_OR_RETURN(ShardInfo info, shard_->Finish());
  info.file = NextFile();
  state_.shards.push_back(std::move(info));
  state_.open_documents = 0;
  state_.open_tokens = 0;
  shard_.reset();
  return absl::OkStatus();
}

absl::StatusOr<SplitEntry> SplitWriter::Finish() {
  if (shard_ != nullptr) RETURN_IF_ERROR(FinishShard());
  return SplitEntry{
      .documents = state_.documents(), .words = state_.words, .tokens = state_.tokens(), .shards = state_.shards};
}

}  // namespace bert::corpus
