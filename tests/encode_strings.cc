// Encodes strings in bulk for tests/tokenizer_fuzz_test.py, which compares the result with Hugging Face's.
//
//   encode_strings --tokenizer DIR [--split-special-tokens] [--pairs] <strings >tokens
//
// All numbers are 32-bit, in the machine's order. In, batch after batch: how many strings, the length of each in bytes,
// the strings. Out for each batch: how many tokens each string has, then of every token its id, its span in code points
// and its type. With --pairs, each two strings are what a model is given of them, special tokens included.
#include <CLI/CLI.hpp>
#include <cstdint>
#include <iostream>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "common/status_macros.h"
#include "dataloader/text/tokenizer_files.h"

namespace bert::text {
namespace {

// False at the end of the input.
template <typename T>
bool Read(std::istream& in, T* values, size_t count) {
  in.read(reinterpret_cast<char*>(values), static_cast<std::streamsize>(count * sizeof(T)));
  return in.gcount() == static_cast<std::streamsize>(count * sizeof(T));
}

void Write(std::ostream& out, const std::vector<uint32_t>& values) {
  out.write(reinterpret_cast<const char*>(values.data()),
            static_cast<std::streamsize>(values.size() * sizeof(uint32_t)));
}

class Encoder {
 public:
  Encoder(const WordPieceTokenizer& tokenizer, SpecialTokenText special) : tokenizer_(tokenizer), special_(special) {}

  absl::Status AddString(std::string_view text) {
    ModelInput encoded;
    tokenizer_.EncodeWithOffsets(text, &encoded.ids, &encoded.spans, special_);
    encoded.type_ids.resize(encoded.ids.size(), 0);
    std::vector<uint32_t> ids_alone;
    tokenizer_.Encode(text, &ids_alone, special_);
    if (ids_alone != encoded.ids) {
      return absl::InternalError(
          absl::StrCat("Encode gives other ids for '", absl::CHexEscape({text.data(), text.size()}), "'"));
    }
    Add(encoded, {text});
    return absl::OkStatus();
  }

  void AddPair(std::string_view first, std::string_view second) {
    Add(tokenizer_.EncodeForModel(first, second, special_), {first, second});
  }

  void WriteTo(std::ostream& out) {
    Write(out, counts_);
    Write(out, tokens_);
    out.flush();
    counts_.clear();
    tokens_.clear();
  }

 private:
  // `texts` of each type.
  void Add(const ModelInput& encoded, const std::vector<std::string_view>& texts) {
    std::vector<std::vector<ByteSpan>> spans;
    for (const std::string_view text : texts) {
      std::vector<ByteSpan>& of_type = spans.emplace_back();
      for (size_t i = 0; i < encoded.ids.size(); ++i) {
        if (encoded.type_ids[i] + 1 == spans.size()) of_type.push_back(encoded.spans[i]);
      }
      of_type = CodePointSpans(text, of_type);
    }
    std::vector<size_t> next(texts.size(), 0);
    counts_.push_back(static_cast<uint32_t>(encoded.ids.size()));
    for (size_t i = 0; i < encoded.ids.size(); ++i) {
      const uint32_t type = encoded.type_ids[i];
      const ByteSpan span = spans[type][next[type]++];
      tokens_.insert(tokens_.end(),
                     {encoded.ids[i], static_cast<uint32_t>(span.begin), static_cast<uint32_t>(span.end), type});
    }
  }

  const WordPieceTokenizer& tokenizer_;
  const SpecialTokenText special_;
  std::vector<uint32_t> counts_;
  std::vector<uint32_t> tokens_;
};

absl::Status EncodeBatches(const WordPieceTokenizer& tokenizer, SpecialTokenText special, bool pairs, std::istream& in,
                           std::ostream& out) {
  Encoder encoder(tokenizer, special);
  uint32_t count = 0;
  while (Read(in, &count, 1)) {
    std::vector<uint32_t> lengths(count);
    if (!Read(in, lengths.data(), lengths.size())) return absl::InvalidArgumentError("the input ends inside lengths");
    // Each exactly as long as the string, so that a sanitizer sees a step past its end.
    std::vector<std::vector<char>> strings;
    for (const uint32_t length : lengths) {
      std::vector<char>& bytes = strings.emplace_back(length);
      if (!Read(in, bytes.data(), bytes.size())) return absl::InvalidArgumentError("the input ends inside a string");
    }
    const auto text = [&](size_t i) { return std::string_view(strings[i].data(), strings[i].size()); };
    if (pairs && count % 2 != 0) return absl::InvalidArgumentError("an odd number of strings makes no pairs");
    for (size_t i = 0; i < count; i += pairs ? 2 : 1) {
      if (pairs) {
        encoder.AddPair(text(i), text(i + 1));
      } else {
        RETURN_IF_ERROR(encoder.AddString(text(i)));
      }
    }
    encoder.WriteTo(out);
  }
  return out ? absl::OkStatus() : absl::InternalError("cannot write the output");
}

}  // namespace
}  // namespace bert::text

int main(int argc, char** argv) {
  std::string directory;
  bool split_special_tokens = false;
  bool pairs = false;
  CLI::App app("Encodes strings in bulk, for tests.");
  app.add_option("--tokenizer", directory, "Directory with vocab.txt and tokenizer_config.json")->required();
  app.add_flag("--split-special-tokens", split_special_tokens,
               "Take names of special tokens in the text as plain text");
  app.add_flag("--pairs", pairs, "Encode each two strings as a pair, with special tokens");
  CLI11_PARSE(app, argc, argv);
  std::ios::sync_with_stdio(false);
  const auto tokenizer = bert::text::LoadWordPieceTokenizer(directory);
  absl::Status status = tokenizer.status();
  if (status.ok()) {
    const auto special =
        split_special_tokens ? bert::text::SpecialTokenText::kIsText : bert::text::SpecialTokenText::kIsToken;
    status = bert::text::EncodeBatches(**tokenizer, special, pairs, std::cin, std::cout);
  }
  if (status.ok()) return 0;
  std::cerr << "encode_strings: " << status.message() << "\n";
  return 1;
}
