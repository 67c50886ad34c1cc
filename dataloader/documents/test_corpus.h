// For tests: a folder of files to read, packed in the ways there are.
#ifndef BERT_DATALOADER_DOCUMENTS_TEST_CORPUS_H_
#define BERT_DATALOADER_DOCUMENTS_TEST_CORPUS_H_

#include <gtest/gtest.h>
#include <lzma.h>
#include <zlib.h>
#include <zstd.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "common/check.h"
#include "common/files.h"
#include "dataloader/documents/document_reader.h"

namespace bert::documents {

// One stream of the format, with its checksum.
inline std::string Pack(Compression compression, std::string_view bytes) {
  std::string out(bytes.size() + (bytes.size() >> 3) + 1024, '\0');
  auto* data = reinterpret_cast<uint8_t*>(out.data());
  const auto* in = reinterpret_cast<const uint8_t*>(bytes.data());
  switch (compression) {
    case Compression::kNone:
      return std::string(bytes);
    case Compression::kGzip: {
      z_stream stream = {};
      BERT_CHECK(deflateInit2(&stream, 6, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY) == Z_OK);
      stream.next_in = const_cast<Bytef*>(in);
      stream.avail_in = static_cast<uInt>(bytes.size());
      stream.next_out = data;
      stream.avail_out = static_cast<uInt>(out.size());
      BERT_CHECK(deflate(&stream, Z_FINISH) == Z_STREAM_END);
      out.resize(stream.total_out);
      deflateEnd(&stream);
      return out;
    }
    case Compression::kZstd: {
      ZSTD_CCtx* const context = ZSTD_createCCtx();
      ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 1);
      const size_t size = ZSTD_compress2(context, out.data(), out.size(), bytes.data(), bytes.size());
      ZSTD_freeCCtx(context);
      BERT_CHECK(!ZSTD_isError(size));
      out.resize(size);
      return out;
    }
    case Compression::kXz: {
      size_t size = 0;
      BERT_CHECK(lzma_easy_buffer_encode(1, LZMA_CHECK_CRC64, nullptr, in, bytes.size(), data, &size, out.size()) ==
                 LZMA_OK);
      out.resize(size);
      return out;
    }
  }
  return out;
}

class CorpusTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto* info = ::testing::UnitTest::GetInstance()->current_test_info();
    directory_ = ::testing::TempDir() + "/" + info->test_suite_name() + "-" + info->name();
    std::filesystem::remove_all(directory_);
    std::filesystem::create_directories(directory_);
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  std::string Write(const std::string& name, std::string_view content) {
    const std::string path = directory_ + "/" + name;
    std::filesystem::create_directories(std::filesystem::path(path).parent_path());
    std::ofstream(path, std::ios::binary) << content;
    return path;
  }

  // The one file that `path` is, read by the rule.
  static InputFile File(const std::string& path, const std::string& rule = "auto", const std::string& field = "text") {
    const auto listed = ListInputFiles({.inputs = {path}, .fields = {field}, .documents = {rule}});
    EXPECT_TRUE(listed.ok()) << listed.status();
    return listed.ok() ? listed->files.at(0) : InputFile{};
  }

  // All documents of a file; its faults' messages in `faults_`, an error in `status_`, its size and digest in `end_`.
  std::vector<std::string> Read(const InputFile& file) {
    std::vector<std::string> documents;
    faults_.clear();
    auto reader = OpenDocuments(file);
    status_ = reader.status();
    if (!reader.ok()) return documents;
    while (true) {
      auto item = (*reader)->Next();
      status_ = item.status();
      if (!item.ok()) return documents;
      if (!item->has_value()) break;
      if (const Fault* fault = std::get_if<Fault>(&**item)) {
        faults_.push_back(*fault);
      } else {
        documents.push_back(std::get<std::string>(**item));
      }
    }
    end_ = *(*reader)->Finish();
    return documents;
  }

  std::string directory_;
  std::vector<Fault> faults_;
  absl::Status status_;
  FileDigest end_;
};

}  // namespace bert::documents

#endif  // BERT_DATALOADER_DOCUMENTS_TEST_CORPUS_H_
